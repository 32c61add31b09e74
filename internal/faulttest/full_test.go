package faulttest

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	natsjs "github.com/nats-io/nats.go/jetstream"

	"github.com/tributary-es/tributary/jetstream"
)

// limit is what a store can be full by.
type limit struct {
	name  string
	cfg   jetstream.Config
	setup func(t *testing.T) []Option

	// refusals are how appends may end.
	refusals []string

	// isFull, where it isn't nil, returns an error where the store isn't full, for how
	// the appends end doesn't tell.
	isFull func(t *testing.T) error

	// more makes room.
	more func(t *testing.T, c *Cluster)

	// restart says that a lone server takes no writes before it is restarted, room or not.
	restart bool
}

func limits() []limit {
	dirs := make(map[string][]string) // of a test
	return []limit{{
		name:     "the JetStream stream's max_bytes",
		cfg:      jetstream.Config{MaxBytes: 1 << 20},
		refusals: []string{"full"},
		more: func(t *testing.T, c *Cluster) {
			js, err := natsjs.New(c.NewClient(t).Conn)
			must(t, err)
			stream, err := js.Stream(t.Context(), jetstream.DefaultStream)
			must(t, err)
			cfg := stream.CachedInfo().Config
			cfg.MaxBytes = 64 << 20
			_, err = js.UpdateStream(t.Context(), cfg)
			must(t, err)
		},
	}, {
		name:     "the server's max_file_store",
		setup:    func(*testing.T) []Option { return []Option{JetStreamConfig("max_file_store: 2MB")} },
		refusals: []string{"full", "unknown"},
		more: func(t *testing.T, c *Cluster) {
			for _, n := range c.Nodes {
				text, err := os.ReadFile(n.config)
				must(t, err)
				must(t, os.WriteFile(n.config, bytes.ReplaceAll(text, []byte("max_file_store: 2MB"), []byte("max_file_store: 64MB")), 0o644))
			}
			restartAll(t, c)
		},
	}, {
		name: "the disk",
		setup: func(t *testing.T) []Option {
			// By default the server refuses appends before the disk does.
			return []Option{JetStreamConfig("max_file_store: 1GB"), StoreDirs(func(i int) string {
				dir := SmallDisk(t, 4<<20)
				dirs[t.Name()] = append(dirs[t.Name()], dir)
				return dir
			})}
		},
		refusals: []string{"full", "unknown", "unavailable"},
		isFull: func(t *testing.T) error {
			var roomy []string
			for _, dir := range dirs[t.Name()] {
				out, err := exec.Command("df", "-k", "--output=avail", dir).Output()
				must(t, err)
				var room int
				_, err = fmt.Sscanf(string(out), "Avail\n%d", &room)
				must(t, err)
				if room < 48 { // the largest append takes more
					return nil
				}
				roomy = append(roomy, fmt.Sprintf("%d KiB", room))
			}
			return fmt.Errorf("there is room: %v", roomy)
		},
		more: func(t *testing.T, _ *Cluster) {
			for _, dir := range dirs[t.Name()] {
				if out, err := exec.Command("mount", "-o", "remount,size=64m", dir).CombinedOutput(); err != nil {
					t.Fatalf("%v: %s", err, out)
				}
			}
		},
		restart: true,
	}}
}

func restartAll(t *testing.T, c *Cluster) {
	t.Helper()
	for _, n := range c.Nodes {
		must(t, n.Stop())
	}
	for _, n := range c.Nodes {
		must(t, n.Start())
	}
	c.WaitReady(jetstream.DefaultStream)
}

func TestAFullStoreLosesNothingAndGoesOnWhenThereIsRoom(t *testing.T) {
	t.Parallel()
	for on, servers := range map[string]int{"one server": 1, "three replicas": 3} {
		for i, l := range limits() {
			if servers == 3 && i < 2 && !*thorough {
				continue // which takes long, and is the same code of ours
			}
			t.Run(l.name+", "+on, func(t *testing.T) {
				var opts []Option
				if l.setup != nil {
					opts = l.setup(t)
				}
				c := Start(t, servers, opts...)
				cfg := l.cfg
				cfg.Replicas, cfg.RequestTimeout = servers, 200*time.Millisecond
				b := c.open(t, c.NewClient(t).Conn, cfg)
				w := StartWriters(t, b, 16<<10, time.Second)
				w.WaitRefused(l.refusals...)
				if l.isFull != nil {
					must(t, eventually("the disk is full", func() error { return l.isFull(t) }))
					w.WaitEnded(2 * writersStreams) // what was on its way
				}
				acknowledged := w.Ledger.Acknowledged()
				if !l.restart {
					w.Stop()
				}
				l.more(t, c)
				if l.restart && servers == 1 {
					w.WaitEnded(2 * writersStreams)
					if now := w.Ledger.Acknowledged(); now != acknowledged {
						t.Errorf("%d appends were acknowledged before the server was restarted", now-acknowledged)
					}
				}
				full := w.Stop()
				if l.restart {
					restartAll(t, c)
				}
				w.GoOn(b) // the same one
				w.Wait(20)
				w.Stop()
				res := w.Check(c.open(t, c.NewClient(t).Conn, cfg))
				t.Log(fmt.Sprint(res, "; until it was full ", full))
			})
		}
	}
}
