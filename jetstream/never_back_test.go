package jetstream_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/internal/testserver"
	"github.com/tributary-es/tributary/jetstream"
)

func TestReadsOnReplicasNeverGoBack(t *testing.T) {
	c := testserver.Cluster(t, 3)
	for name, cfg := range map[string]jetstream.Config{
		"heads remembered": {Replicas: 3},
		"heads forgotten":  {Replicas: 3, HeadCacheSize: 1},
		"heads of leaders": {Replicas: 3, ReadConsistency: jetstream.ReadLeader},
	} {
		t.Run(name, func(t *testing.T) {
			// The load comes from elsewhere: it has followers lag.
			loader := openStore(t, c.Connect(t), jetstream.Config{Replicas: 3})
			l := startLoad(t, loader, loader, loader, loader)
			l.wait(10)
			neverBack(t, c, cfg, l.stream(0))
			l.stop()
			l.wg.Wait()
		})
	}
}

// neverBack reads right after own appends, and while others append.
func neverBack(t *testing.T, c *testserver.ServerCluster, cfg jetstream.Config, shared string) {
	t.Helper()
	ctx := t.Context()
	s := openStore(t, c.Connect(t), cfg)
	id := uuid.NewString()
	var wg sync.WaitGroup
	for g := range 2 {
		wg.Go(func() {
			version := uint64(0)
			for i := range 85 {
				// Two event streams each, so that one forgets the other's head.
				stream := fmt.Sprintf("own-%s-%d-%d", id, g, i%2)
				res, err := backend.Append(ctx, s, stream, backend.ExactVersion(version), identified(1), uuid.Nil)
				if err != nil {
					t.Errorf("append: %v", err)
					return
				}
				switch i % 3 {
				case 0:
					info, err := s.ReadStreamInfo(ctx, stream, uuid.Nil)
					if err != nil || info.Version != res.Version {
						t.Errorf("info says version %d after an append of version %d, error %v", info.Version, res.Version, err)
					}
				case 1:
					events, err := s.ReadStream(ctx, stream, 0, 1000, uuid.Nil)
					if err != nil || uint64(len(events)) != res.Version {
						t.Errorf("%d events after an append of version %d, error %v", len(events), res.Version, err)
					}
				case 2:
					n := uint64(0)
					for batch, err := range s.StreamForward(ctx, stream, 7, uuid.Nil) {
						if err != nil {
							t.Errorf("StreamForward: %v", err)
						}
						n += uint64(len(batch))
					}
					if n != res.Version {
						t.Errorf("%d events forward after an append of version %d", n, res.Version)
					}
				}
				if i%2 == 1 {
					version++
				}
			}
		})
	}
	// What one read saw, a later one sees, whoever wrote it.
	for range 2 {
		wg.Go(func() {
			var last atomic.Uint64
			for range 85 {
				before := last.Load()
				info, err := s.ReadStreamInfo(ctx, shared, uuid.Nil)
				if err != nil || info.Version < before {
					t.Errorf("version %d after %d, error %v", info.Version, before, err)
				}
				last.Store(info.Version)
			}
		})
	}
	wg.Wait()
	// What was acknowledged to others before is seen where the leader is asked.
	if cfg.ReadConsistency == jetstream.ReadLeader {
		other := openStore(t, c.Connect(t), cfg)
		for range 30 {
			res, err := backend.Append(within(t, time.Minute), other, "others-"+id, backend.AnyVersion(), identified(1), uuid.Nil)
			if err != nil {
				t.Fatal(err)
			}
			if got := s.info("others-" + id).Version; got < res.Version {
				t.Errorf("the leader says version %d, %d was acknowledged", got, res.Version)
			}
		}
	}
}

func TestReadsAfterALeaderChangeSeeWhatWasAcknowledged(t *testing.T) {
	c := testserver.Cluster(t, 3)
	s := openStore(t, c.Connect(t), jetstream.Config{Replicas: 3, RequestTimeout: 500 * time.Millisecond})
	total := 0
	for round := range 3 {
		for range 50 {
			s.add("x", 1)
			s.add(fmt.Sprintf("y-%d", round), 1)
			total += 2
		}
		if _, err := s.nc.Request("$JS.API.STREAM.LEADER.STEPDOWN.EVENTS", nil, patience); err != nil {
			t.Fatal(err)
		}
		all, err := readAll(t.Context(), s, backend.ReadAllOptions{})
		if err != nil || len(all) != total {
			t.Errorf("round %d: ReadAll: %d events, want %d, error %v", round, len(all), total, err)
		}
		if got := len(s.all("x")); got != total/2 {
			t.Errorf("round %d: %d events, want %d", round, got, total/2)
		}
	}
}

// A process that has forgotten a head still notices that a server has less than
// the process has seen: its store was put back to an earlier time.
func TestReadsNeverGoBackWhereTheHeadWasForgotten(t *testing.T) {
	for _, consistency := range []jetstream.ReadConsistency{jetstream.ReadYourWrites, jetstream.ReadLeader} {
		for name, heads := range map[string]int{"remembered": 0, "forgotten": 1} {
			t.Run(name, func(t *testing.T) {
				srv := testserver.Single(t)
				s := openStore(t, srv.Connect(t), jetstream.Config{RequestTimeout: 100 * time.Millisecond, HeadCacheSize: heads, ReadConsistency: consistency})
				s.add("x", 1)
				earlier := filepath.Join(t.TempDir(), "earlier")
				srv.Stop()
				if err := os.CopyFS(earlier, os.DirFS(srv.StoreDir())); err != nil {
					t.Fatal(err)
				}
				restart := func() {
					if err := srv.Restart(); err != nil {
						t.Fatal(err)
					}
				}
				restart()
				s.add("x", 1)
				s.add("y", 1) // so that the head of x may be forgotten
				srv.Stop()
				if err := os.RemoveAll(srv.StoreDir()); err != nil {
					t.Fatal(err)
				}
				if err := os.CopyFS(srv.StoreDir(), os.DirFS(earlier)); err != nil {
					t.Fatal(err)
				}
				restart()
				if info, err := s.ReadStreamInfo(within(t, promptly), "x", uuid.Nil); !errors.Is(err, backend.ErrCorrupted) {
					t.Errorf("version %d after version 2, error %v, want ErrCorrupted", info.Version, err)
				}
				for _, r := range readers {
					if events, err := r.read(within(t, promptly), s, "x"); !errors.Is(err, backend.ErrCorrupted) {
						t.Errorf("%s: %d events after 2, error %v, want ErrCorrupted", r.name, len(events), err)
					}
				}
			})
		}
	}
}
