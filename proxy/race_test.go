//go:build race

package proxy

// raceDetector says that sync.Pool drops what it is given at random, as it does under the race detector.
const raceDetector = true
