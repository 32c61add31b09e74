package faulttest

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
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

	// full waits until it is; nil: the refusals tell.
	full func(t *testing.T)

	// more makes room.
	more func(t *testing.T, c *Cluster)

	// restart: it takes that, too.
	restart bool

	// stays: a lone server takes nothing, whatever room there is, until it is
	// restarted.
	stays bool
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
		restart:  true,
		more: func(t *testing.T, c *Cluster) {
			for _, n := range c.Nodes {
				text, err := os.ReadFile(n.config)
				must(t, err)
				must(t, os.WriteFile(n.config, bytes.ReplaceAll(text, []byte("max_file_store: 2MB"), []byte("max_file_store: 64MB")), 0o644))
			}
		},
	}, {
		name: "the disk",
		setup: func(t *testing.T) []Option {
			// By default the server refuses appends before the disk does.
			return []Option{JetStreamConfig("max_file_store: 1GB"), StoreDirs(func(i int) string {
				dir := SmallDisk(t, smallDisk)
				dirs[t.Name()] = append(dirs[t.Name()], dir)
				return dir
			})}
		},
		refusals: []string{"full", "unknown", "unavailable"},
		full: func(t *testing.T) {
			must(t, eventually("a disk is full", func() error {
				most := int64(0)
				for _, dir := range dirs[t.Name()] {
					most = max(most, used(dir))
				}
				if most < smallDisk-128<<10 { // a commit is up to 48 KB
					return fmt.Errorf("%d of %d bytes are used", most, smallDisk)
				}
				return nil
			}))
		},
		restart: true,
		stays:   true,
		more: func(t *testing.T, c *Cluster) {
			for _, dir := range dirs[t.Name()] {
				if out, err := exec.Command("mount", "-o", "remount,size=64m", dir).CombinedOutput(); err != nil {
					t.Fatalf("%v: %s", err, out)
				}
			}
		},
	}}
}

const smallDisk = 4 << 20 // bytes

// used is how many bytes the files in a directory have.
func used(dir string) (bytes int64) {
	_ = filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return nil // it is gone
		}
		if info, err := entry.Info(); err == nil {
			bytes += info.Size()
		}
		return nil
	})
	return bytes
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
				if l.full != nil {
					l.full(t)
				}
				w.WaitRefused(l.refusals...)
				full := w.Stop()
				l.more(t, c)
				if l.stays && servers == 1 {
					w.GoOn(b)
					w.WaitRefused("unknown", "unavailable")
					if still := w.Stop(); still["acknowledged"] > 0 {
						t.Errorf("with room, and without a restart: %v, want nothing acknowledged, as docs/reliability.md says", still)
					}
				}
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
