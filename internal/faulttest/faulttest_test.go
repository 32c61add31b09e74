package faulttest

import (
	"os"
	"testing"
)

func TestMain(m *testing.M) {
	ServeIfAsked()
	code := m.Run()
	RemoveBinary()
	os.Exit(code)
}

func TestNothingIsBrokenWithoutFaults(t *testing.T) {
	for name, servers := range map[string]int{"one server": 1, "three replicas": 3} {
		t.Run(name, func(t *testing.T) {
			c := Start(t, servers)
			load := c.StartLoad(t, LoadConfig{Strict: true, Seed: chosen(t)})
			load.Wait(500)
			t.Log(load.Finish())
		})
	}
}
