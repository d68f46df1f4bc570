<?php
// What the scenarios share: a line for each check, and rounds until they are enough. They print past PHP's output,
// which would end the time in which a session can begin.

error_reporting(E_ALL & ~E_DEPRECATED); // Predis is older than the PHP it runs on.
set_error_handler(function (int $level, string $text, string $file, int $line): bool {
    if ($level & (E_DEPRECATED | E_USER_DEPRECATED)) {
        return true;
    }
    throw new ErrorException($text, 0, $level, $file, $line);
});

define('HOST', getenv('REDIS_HOST'));
define('PORT', (int) getenv('REDIS_PORT'));
define('PREFIX', getenv('KEY_PREFIX'));

function check(string $name, mixed $got, mixed $want): void
{
    if ($got !== $want) {
        fwrite(STDOUT, "FAIL $name: " . json_encode($got) . ', want ' . json_encode($want) . "\n");
        exit(1);
    }
    fwrite(STDOUT, "ok $name\n");
}

function play(callable $round): void
{
    for ($n = 1; ; $n++) {
        $round($n);
        fwrite(STDOUT, "round $n\n");
        if (file_exists(getenv('UNTIL'))) {
            return;
        }
        clearstatcache();
    }
}
