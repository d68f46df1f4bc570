# frozen_string_literal: true

# The jobs of the Sidekiq scenario, for both the worker process and the client.
require 'sidekiq'
require 'redis'

Redis.silence_deprecations = true # What Sidekiq calls is not ours.
Sidekiq.logger.level = Logger::WARN
prefix = ENV.fetch('KEY_PREFIX')
connection = { url: ENV.fetch('REDIS_URL') }
connection[:namespace] = prefix.delete_suffix(':') unless prefix.empty?
Sidekiq.configure_server do |config|
  config.redis = connection
  config.options[:poll_interval_average] = 0.2 # of what is scheduled; by default many seconds
  config.on(:startup) { $stdout.write("worker is up\n") && $stdout.flush }
end
Sidekiq.configure_client { |config| config.redis = connection }

# Add notes that it has run.
class Add
  include Sidekiq::Worker
  sidekiq_options queue: 'high'

  def perform(list, value)
    Sidekiq.redis { |c| c.rpush(list, value) }
  end
end

# Count is the job of many.
class Count
  include Sidekiq::Worker
  sidekiq_options queue: 'low'

  def perform(counter)
    Sidekiq.redis { |c| c.incr(counter) }
  end
end

# Fail fails the first time.
class Fail
  include Sidekiq::Worker
  sidekiq_options queue: 'low', retry: 3

  def perform(list)
    tries = Sidekiq.redis { |c| c.rpush(list, 'try') }
    raise 'the first time it fails' if tries == 1
  end
end
