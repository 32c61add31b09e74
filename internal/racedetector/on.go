//go:build race

package racedetector

// On reports whether the race detector watches.
const On = true
