# frozen_string_literal: true

# A client of Sidekiq: jobs of two queues, one by one and in bulk, later, and again.
require_relative 'check'
require_relative 'jobs'
require 'sidekiq/api'

def list(key)
  Sidekiq.redis { |c| c.lrange(key, 0, -1) }
end

def bulk(round)
  Sidekiq::Client.push_bulk('class' => Count, 'args' => Array.new(50) { ["count:#{round}"] })
  20.times { |i| Add.perform_async("added:#{round}", i) }
  eventually('jobs of two queues', [(0...20).to_a, '50']) do
    [list("added:#{round}").map(&:to_i).sort, Sidekiq.redis { |c| c.get("count:#{round}") }]
  end
end

def scheduled(round)
  id = Add.perform_in(0.5, "later:#{round}", 'done')
  far = Add.perform_in(3600, "later:#{round}", 'too early')
  check('jobs are scheduled', [id, far].map(&:class), [String, String])
  eventually('a scheduled job', ['done']) { list("later:#{round}") }
  check('another one waits', Sidekiq::ScheduledSet.new.find_job(far)&.delete, true)
end

def retried(round)
  id = Fail.perform_async("retried:#{round}")
  eventually('a job that failed', 'the first time it fails') { Sidekiq::RetrySet.new.find_job(id)&.item&.fetch('error_message') }
  check('it is tried again', Sidekiq::RetrySet.new.find_job(id).retry, id)
  eventually('what failed first', %w[try try]) { list("retried:#{round}") }
end

def told
  eventually('no job is left', [0, 0]) { Sidekiq::Queue.all.map(&:size).then { |sizes| [sizes.sum, Sidekiq::Stats.new.enqueued] } }
  check('queues', Sidekiq::Queue.all.map(&:name).sort, %w[high low])
  check('processes', Sidekiq::ProcessSet.new.map { |p| p['queues'] }, [%w[high low]])
end

play do |round|
  bulk(round)
  scheduled(round)
  retried(round)
  told
end
