//go:build race

package jetstream_test

const raceDetector = true
