//go:build !race

// Package racedetector tells tests whether they run with the race detector, which
// has everything take many times as long.
package racedetector

// On reports whether the race detector watches.
const On = false
