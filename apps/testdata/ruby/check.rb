# frozen_string_literal: true

# What the scenarios share: a line for each check, and rounds until they are enough.
$stdout.sync = true

def check(name, got, want)
  abort "FAIL #{name}: #{got.inspect}, want #{want.inspect}" if got != want
  puts "ok #{name}"
end

# Asks until the answer is the wanted one. Nothing that works takes that long.
def eventually(name, want, seconds = 60)
  give_up = Process.clock_gettime(Process::CLOCK_MONOTONIC) + seconds
  got = yield
  while got != want && Process.clock_gettime(Process::CLOCK_MONOTONIC) < give_up
    sleep 0.02
    got = yield
  end
  check(name, got, want)
end

def play
  (1..).each do |n|
    yield n
    puts "round #{n}"
    break if File.exist?(ENV.fetch('UNTIL'))
  end
end
