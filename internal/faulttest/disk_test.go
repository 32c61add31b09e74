package faulttest

import (
	"flag"
	"strings"
	"testing"

	"github.com/tributary-es/tributary/jetstream"
)

// What is done to the disk, as strace says it: 30 ms are 30000 us.
var diskFaults = []struct {
	name, inject string
	fails        bool // so that the server must be restarted
}{
	{"slow", callsThatSync + "," + callsThatWrite + ":delay_enter=30000", false},
	{"sync fails", callsThatSync + ":error=EIO", true},
	{"write fails", callsThatWrite + ":error=EIO", true},
	{"write fails now and then", callsThatWrite + ":error=EIO:when=3+5", true},
	{"no space now and then", callsThatWrite + ":error=ENOSPC:when=3+5", true},
}

var thorough = flag.Bool("thorough", false, "all faults of disks, on one server and on three")

// TestADiskThatFails has every append synced, so that the disk is asked.
func TestADiskThatFails(t *testing.T) {
	t.Parallel()
	needStrace(t)
	for on, servers := range map[string]int{"one server": 1, "three replicas": 3} {
		t.Run(on, func(t *testing.T) {
			c := Start(t, servers, SyncAlways())
			for i, f := range diskFaults {
				if !*thorough && i%2 != servers/3 {
					continue
				}
				t.Run(f.name, func(t *testing.T) {
					c.Use(t)
					load := c.StartLoad(t, LoadConfig{Strict: servers == 1})
					if servers == 3 && f.fails {
						// A leader whose own write failed has less than it acknowledged, which its
						// peers stored: for as long as it leads, that is what it says of itself.
						load.Ledger.Forgive(func(violation string) bool {
							return strings.Contains(violation, "after this process saw one that is now missing")
						})
					}
					load.Wait(20)
					node := c.Nodes[c.Leader(jetstream.DefaultStream)]
					disk := node.BreakDisk(t, f.inject)
					if f.fails {
						disk.WaitHit(t, 1) // a lone server writes no more after the first
					} else {
						load.Wait(10)
						disk.WaitHit(t, 10)
					}
					disk.Heal()
					if f.fails {
						must(t, node.Kill())
					}
					c.Recover()
					load.Wait(20)
					load.WaitEach()
					res := load.finish()
					for _, v := range res.Violations {
						t.Error(v)
					}
					t.Logf("%v; forgiven: %d", res, load.Ledger.Forgiven())
				})
			}
		})
	}
}
