package jetstream_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/internal/testserver"
	"github.com/tributary-es/tributary/jetstream"
)

// load is appends to event streams that go on until they are told to stop.
type load struct {
	t      *testing.T
	name   string // begins those of the event streams
	stop   context.CancelFunc
	wg     sync.WaitGroup
	acked  atomic.Int64
	ledger []ledger // of each event stream
}

// startLoad has a goroutine for each store append to an event stream of its own
// and to one that all share. The shared one is number 0.
func startLoad(t *testing.T, stores ...*store) *load {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	l := &load{t: t, name: "load-" + uuid.NewString(), stop: stop, ledger: make([]ledger, len(stores)+1)}
	t.Cleanup(func() {
		stop()
		l.wg.Wait()
	})
	for i, s := range stores {
		l.wg.Go(func() {
			version := uint64(0)
			for n := 0; ctx.Err() == nil; n++ {
				// Without a deadline of their own, appends would be cut off with an
				// unknown outcome when it stops.
				own, shared := identified(1+n%3), identified(1)
				res, err := l.append(s, l.stream(i+1), backend.ExactVersion(version), own)
				if err != nil {
					return
				}
				if version += uint64(len(own)); res.Version != version {
					t.Errorf("acknowledged version %d, want %d", res.Version, version)
				}
				l.ledger[i+1].note(t, res)
				if res, err = l.append(s, l.stream(0), backend.AnyVersion(), shared); err != nil {
					return
				}
				l.ledger[0].note(t, res)
			}
		})
	}
	return l
}

func (l *load) stream(i int) string { return fmt.Sprintf("%s-%d", l.name, i) }

func (l *load) append(s *store, name string, expected backend.ExpectedVersion, events []backend.UnsavedEvent) (backend.AppendResult, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	res, err := backend.Append(ctx, s, name, expected, events, uuid.Nil)
	if err != nil {
		l.t.Errorf("append to %s: %v", name, err)
	} else {
		l.acked.Add(1)
	}
	return res, err
}

// wait waits until so many more appends were acknowledged.
func (l *load) wait(n int64) {
	l.t.Helper()
	from := l.acked.Load()
	eventually(l.t, "appends go on", func() bool { return l.acked.Load() >= from+n || l.t.Failed() })
}

// finish stops the load and checks that all is there, once.
func (l *load) finish(readers ...*store) {
	l.t.Helper()
	l.stop()
	l.wg.Wait()
	l.t.Logf("%d appends", l.acked.Load())
	for i := range l.ledger {
		for _, s := range readers {
			// A read by another than the writer may be answered by a replica that lags,
			// which one that was just restarted does. An append of nothing asks the
			// leader, and no read goes back behind what that says.
			s.append(l.stream(i), backend.AnyVersion(), nil)
			l.ledger[i].wantAll(l.t, s.all(l.stream(i)), false)
		}
	}
	total := 0
	for i := range l.ledger {
		total += len(l.ledger[i].acked)
	}
	events, err := readAll(l.t.Context(), readers[0], backend.ReadAllOptions{})
	if err != nil || len(events) != total {
		l.t.Errorf("ReadAll: %d events, want %d, error %v", len(events), total, err)
	}
}

func TestARestartedServerLosesAndDoublesNothing(t *testing.T) {
	srv := testserver.Single(t)
	cfg := jetstream.Config{RequestTimeout: 300 * time.Millisecond}
	a, b := pair(t, srv.Connect, cfg)
	batches := openStore(t, srv.Connect(t), jetstream.Config{RequestTimeout: cfg.RequestTimeout, EventsPerMessage: 1})
	l := startLoad(t, a, b, batches)
	for range 3 {
		l.wait(20)
		if err := srv.Restart(); err != nil {
			t.Fatal(err)
		}
	}
	l.wait(20)
	l.finish(a, batches, a.again(cfg))
}

func TestAReadGoesOnAcrossARestart(t *testing.T) {
	srv := testserver.Single(t)
	s := openStore(t, srv.Connect(t), jetstream.Config{RequestTimeout: 300 * time.Millisecond})
	for range 60 {
		s.append("x", backend.AnyVersion(), sized(20, 1000))
	}
	for name, seq := range map[string]func() (int, error){
		"StreamForward": func() (n int, err error) {
			for batch, err := range s.StreamForward(t.Context(), "x", 10, uuid.Nil) {
				if err != nil {
					return n, err
				}
				if n += len(batch); n == 100 {
					if err := srv.Restart(); err != nil {
						return n, err
					}
				}
			}
			return n, nil
		},
		"ReadAll": func() (n int, err error) {
			for batch, err := range s.ReadAll(t.Context(), backend.ReadAllOptions{BatchSize: 10}, uuid.Nil) {
				if err != nil {
					return n, err
				}
				if n += len(batch); n == 100 {
					if err := srv.Restart(); err != nil {
						return n, err
					}
				}
			}
			return n, nil
		},
	} {
		if n, err := seq(); n != 1200 || err != nil {
			t.Errorf("%s: %d events, want 1200, error %v", name, n, err)
		}
	}
}

func TestAStoppedServerIsUnavailableWithinTheDeadline(t *testing.T) {
	srv := testserver.Single(t)
	s := openStore(t, srv.Connect(t), jetstream.Config{Timeout: 300 * time.Millisecond, RequestTimeout: 100 * time.Millisecond})
	s.add("x", 3)
	srv.Stop()
	eventually(t, "the client notices", func() bool { return !s.nc.IsConnected() })
	for name, call := range map[string]func() error{
		"append": func() error {
			_, err := s.AppendToStream(t.Context(), "x", identified(1), uuid.Nil)
			return err
		},
		"info": func() error {
			_, err := s.ReadStreamInfo(t.Context(), "x", uuid.Nil)
			return err
		},
		"ReadAll": func() error {
			_, err := readAll(t.Context(), s, backend.ReadAllOptions{})
			return err
		},
		"ReadStream":         func() error { _, err := readers[0].read(t.Context(), s, "x"); return err },
		"StreamForward":      func() error { _, err := readers[1].read(t.Context(), s, "x"); return err },
		"ReadStreamBackward": func() error { _, err := readers[2].read(t.Context(), s, "x"); return err },
		"Open": func() error {
			_, err := jetstream.Open(t.Context(), s.nc, jetstream.Config{Timeout: 300 * time.Millisecond})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			started := time.Now()
			if err := call(); !errors.Is(err, backend.ErrUnavailable) {
				t.Errorf("error %v, want ErrUnavailable", err)
			}
			if took := time.Since(started); took > 5*time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
	if err := srv.Restart(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is back", func() bool {
		_, err := s.ReadStreamInfo(t.Context(), "x", uuid.Nil)
		return err == nil
	})
	wantStream(t, s, "x", 3)
}

func TestARollingRestartOfAClusterLosesAndDoublesNothing(t *testing.T) {
	c := testserver.Cluster(t, 3)
	cfg := jetstream.Config{Replicas: 3, RequestTimeout: 500 * time.Millisecond, Timeout: patience}
	a, b := pair(t, c.Connect, cfg)
	cfg.EventsPerMessage = 1
	batches := openStore(t, c.Connect(t, nats.Timeout(patience)), cfg)
	l := startLoad(t, a, b, batches)
	for _, srv := range c.Servers {
		l.wait(20)
		if err := srv.Restart(); err != nil {
			t.Fatal(err)
		}
		c.WaitReady(t)
	}
	l.wait(20)
	l.finish(a, b, batches, a.again(cfg))
}
