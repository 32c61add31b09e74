//go:build !race

package membertest

const raceDetector = false
