//go:build race

package backendtest

// slow is set where everything takes many times as long.
const slow = true
