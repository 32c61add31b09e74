//go:build race

package membertest

const raceDetector = true
