package jetstream_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/internal/testserver"
	"github.com/tributary-es/tributary/jetstream"
)

// shaky is a store behind a proxy, and the same store as seen without it.
type shaky struct {
	*store
	p      *proxy
	direct *store
}

func newShaky(t *testing.T, cfg jetstream.Config) *shaky {
	t.Helper()
	srv := testserver.Single(t)
	p := newProxy(t, srv)
	if cfg.RequestTimeout == 0 {
		cfg.RequestTimeout = 200 * time.Millisecond
	}
	return &shaky{store: openStore(t, p.connect(), cfg), p: p, direct: openStore(t, srv.Connect(t, nats.Timeout(patience)), cfg)}
}

// writing is a write of any kind to the event stream x, whose outcome a test
// makes unknown.
type writing struct {
	name     string
	cfg      jetstream.Config
	messages int                                           // how many it stores
	prepare  func(t *testing.T, s *store)                  // makes x as the write wants it
	write    func(context.Context, *store) error           // the same ids each time
	repeated error                                         // what repeating it says once it is stored; nil: success again
	check    func(t *testing.T, s *store)                  // that x is as the write makes it
	result   func(context.Context, *store) (uint64, error) // write, where it has a result
}

func writings() []writing {
	ctx := context.Background
	prepare := func(t *testing.T, s *store) { s.append("x", backend.NoStream(), identified(2)) }
	one, three, new3 := identified(1), identified(3), identified(3)
	appendOf := func(expected backend.ExpectedVersion, events []backend.UnsavedEvent) func(context.Context, *store) (uint64, error) {
		return func(ctx context.Context, s *store) (uint64, error) {
			res, err := backend.Append(ctx, s, "x", expected, events, uuid.Nil)
			if err == nil && (res.Version == 0 || !slices.Equal(res.EventUUIDs, idsOf(events))) {
				return 0, errors.New("the result is not that of the append")
			}
			return res.Position, err
		}
	}
	once := func(first uint64, events []backend.UnsavedEvent) func(t *testing.T, s *store) {
		return func(t *testing.T, s *store) {
			t.Helper()
			recorded := s.all("x")
			if len(recorded) != int(first)-1+len(events) {
				t.Fatalf("%d events, want %d", len(recorded), int(first)-1+len(events))
			}
			wantEvents(t, recorded[first-1:], events, first)
		}
	}
	all := []writing{
		{name: "an append of one event", messages: 1, prepare: prepare, check: once(3, one),
			result: appendOf(backend.ExactVersion(2), one)},
		{name: "an append of three events in a message", messages: 1, prepare: prepare, check: once(3, three),
			result: appendOf(backend.ExactVersion(2), three)},
		{name: "an append to any version", messages: 1, prepare: prepare, check: once(3, three),
			result: appendOf(backend.AnyVersion(), three)},
		{name: "an append in a batch", cfg: jetstream.Config{EventsPerMessage: 1}, messages: 3, prepare: prepare, check: once(3, three),
			result: appendOf(backend.StreamExists(), three)},
		{name: "an append in a batch that begins the event stream", cfg: jetstream.Config{EventsPerMessage: 1}, messages: 3, check: once(1, new3),
			result: appendOf(backend.NoStream(), new3)},
		{name: "CreateStream", messages: 1, repeated: backend.ErrStreamExists,
			write: func(ctx context.Context, s *store) error {
				_, err := s.CreateStream(ctx, backend.Stream{UUID: "x"}, uuid.Nil)
				return err
			},
			check: func(t *testing.T, s *store) {
				if got := s.info("x").Version; got != 0 {
					t.Errorf("version %d", got)
				}
			}},
		{name: "SoftDelete", messages: 1, prepare: prepare, repeated: backend.ErrStreamDeleted,
			write: func(ctx context.Context, s *store) error {
				return s.SoftDelete(ctx, "x", backend.ExactVersion(2), uuid.Nil)
			},
			check: func(t *testing.T, s *store) {
				if s.info("x").DeletedAt == nil {
					t.Error("not deleted")
				}
			}},
		{name: "DeleteStream", messages: 1, prepare: prepare, repeated: backend.ErrStreamNotFound,
			write: func(ctx context.Context, s *store) error {
				return s.DeleteStream(ctx, backend.Stream{UUID: "x", Version: 2}, uuid.Nil)
			},
			check: func(t *testing.T, s *store) {
				if _, err := s.ReadStreamInfo(ctx(), "x", uuid.Nil); !errors.Is(err, backend.ErrStreamNotFound) {
					t.Errorf("info: %v, want ErrStreamNotFound", err)
				}
			}},
		{name: "Truncate to the end", messages: 1, prepare: prepare,
			write: func(ctx context.Context, s *store) error { return s.Truncate(ctx, "x", 3, uuid.Nil) },
			check: func(t *testing.T, s *store) {
				if got := s.all("x"); len(got) != 0 {
					t.Errorf("%d events", len(got))
				}
			}},
	}
	for i := range all {
		w := &all[i]
		if w.prepare == nil {
			w.prepare = func(*testing.T, *store) {}
		}
		if w.write == nil {
			w.write = func(ctx context.Context, s *store) error {
				_, err := w.result(ctx, s)
				return err
			}
		}
	}
	return all
}

// eachWriting runs a test for every kind of write.
func eachWriting(t *testing.T, test func(t *testing.T, s *shaky, w *writing)) {
	for _, w := range writings() {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel() // they wait most of the time
			s := newShaky(t, w.cfg)
			w.prepare(t, s.store)
			test(t, s, &w)
		})
	}
}

// wantOnce fails the test where the write is not stored exactly once, behind
// before.
func (w *writing) wantOnce(t *testing.T, s *shaky, before uint64) {
	t.Helper()
	if got := s.direct.lastSeq() - before; got != uint64(w.messages) {
		t.Errorf("%d messages were stored, want %d", got, w.messages)
	}
	w.check(t, s.direct)
	w.check(t, s.store)
}

// loseAnswers has the next message on x arrive, and its answer and all later
// ones get lost, until the next cut.
func (s *shaky) loseAnswers() {
	s.p.on(func(subject string) fate {
		if subject == "events.x" {
			s.p.answers = lost
		}
		return arrives
	})
}

// start calls the write in the background.
func start(ctx context.Context, s *store, w *writing) <-chan error {
	done := make(chan error, 1)
	go func() { done <- w.write(ctx, s) }()
	return done
}

func wantDone(t *testing.T, done <-chan error) error {
	t.Helper()
	select {
	case err := <-done:
		return err
	case <-time.After(patience):
		t.Fatal("the write hangs")
		return nil
	}
}

func TestAWriteWhoseAnswerIsLostIsStoredOnce(t *testing.T) {
	eachWriting(t, func(t *testing.T, s *shaky, w *writing) {
		before := s.direct.lastSeq()
		s.loseAnswers()
		done := start(t.Context(), s.store, w)
		eventually(t, "the server has it", func() bool { return s.direct.lastSeq() >= before+uint64(w.messages) })
		s.p.cut()
		if err := wantDone(t, done); err != nil {
			t.Fatal(err)
		}
		w.wantOnce(t, s, before)
	})
}

func TestAWriteThatIsLostOnTheWayIsStoredOnce(t *testing.T) {
	for name, lost := range map[string]fate{"the connection breaks": severed, "nobody notices": swallow} {
		t.Run(name, func(t *testing.T) {
			eachWriting(t, func(t *testing.T, s *shaky, w *writing) {
				before := s.direct.lastSeq()
				seen := 0
				s.p.on(func(subject string) fate {
					if subject == "events.x" {
						if seen++; seen == 1 {
							return lost
						}
					}
					return arrives
				})
				if err := wantDone(t, start(t.Context(), s.store, w)); err != nil {
					t.Fatal(err)
				}
				w.wantOnce(t, s, before)
			})
		})
	}
}

func TestABatchThatIsLostInPartIsStoredOnce(t *testing.T) {
	for name, lost := range map[string]fate{"the connection breaks": severed, "nobody notices": swallow} {
		for nth := 1; nth <= 4; nth++ {
			t.Run(name+[]string{"", " at the first", " at the second", " at the last", " at the first again"}[nth], func(t *testing.T) {
				t.Parallel()
				s := newShaky(t, jetstream.Config{EventsPerMessage: 1})
				s.add("x", 2)
				before := s.direct.lastSeq()
				seen := 0
				s.p.on(func(subject string) fate {
					if subject == "events.x" {
						seen++
						if seen == nth {
							return lost
						}
					}
					return arrives
				})
				events := identified(3)
				s.append("x", backend.ExactVersion(2), events)
				wantEvents(t, s.direct.all("x")[2:], events, 3)
				if got := s.direct.lastSeq() - before; got != 3 {
					t.Errorf("%d messages, want 3", got)
				}
			})
		}
	}
}

func TestAWriteWhoseAnswerIsLateIsStoredOnce(t *testing.T) {
	eachWriting(t, func(t *testing.T, s *shaky, w *writing) {
		before := s.direct.lastSeq()
		s.p.take()
		s.p.on(func(subject string) fate {
			if subject == "events.x" {
				s.p.answers = withheld
			}
			return arrives
		})
		done := start(t.Context(), s.store, w)
		// Sent twice: the first attempt's time is over.
		eventually(t, "it was sent again", func() bool { return s.p.seen("events.x") >= 2*w.messages })
		s.p.on(nil)
		s.p.set(flowing)
		if err := wantDone(t, done); err != nil {
			t.Fatal(err)
		}
		w.wantOnce(t, s, before)
	})
}

func TestAWriteWithoutAnAnswerIsUnknownAndMayBeRepeated(t *testing.T) {
	ends := map[string]func(t *testing.T) (context.Context, context.CancelFunc, error){
		"the deadline passes": func(t *testing.T) (context.Context, context.CancelFunc, error) {
			return within(t, 5*time.Second), func() {}, context.DeadlineExceeded // long after it is sent
		},
		"it is cancelled": func(t *testing.T) (context.Context, context.CancelFunc, error) {
			ctx, cancel := context.WithCancel(t.Context())
			return ctx, cancel, context.Canceled
		},
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			eachWriting(t, func(t *testing.T, s *shaky, w *writing) {
				before := s.direct.lastSeq()
				s.loseAnswers()
				ctx, cancel, want := end(t)
				defer cancel()
				done := start(ctx, s.store, w)
				eventually(t, "the server has it", func() bool { return s.direct.lastSeq() >= before+uint64(w.messages) })
				cancel()
				err := wantDone(t, done)
				if !errors.Is(err, backend.ErrOutcomeUnknown) || !errors.Is(err, want) || errors.Is(err, backend.ErrUnavailable) {
					t.Fatalf("error %v, want ErrOutcomeUnknown and %v", err, want)
				}
				stored := s.direct.lastSeq()
				s.p.cut()
				for _, again := range []*store{s.store, s.direct} {
					if w.result == nil {
						if err := w.write(t.Context(), again); !errors.Is(err, w.repeated) {
							t.Errorf("repeated: %v, want %v", err, w.repeated)
						}
						continue
					}
					position, err := w.result(t.Context(), again)
					if err != nil {
						t.Fatalf("repeated: %v", err)
					}
					if position != stored {
						t.Errorf("repeated: position %d, want the original %d", position, stored)
					}
				}
				w.wantOnce(t, s, before)
			})
		})
	}
}

func TestAWriteWhileDisconnectedIsUnavailableAndNeverStored(t *testing.T) {
	eachWriting(t, func(t *testing.T, s *shaky, w *writing) {
		before := s.direct.lastSeq()
		s.p.refuse(true)
		eventually(t, "the client notices", func() bool { return !s.nc.IsConnected() })
		started := time.Now()
		err := w.write(within(t, 150*time.Millisecond), s.store)
		if !errors.Is(err, backend.ErrUnavailable) || errors.Is(err, backend.ErrOutcomeUnknown) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v, want ErrUnavailable and DeadlineExceeded", err)
		}
		if took := time.Since(started); took > 5*time.Second {
			t.Errorf("it took %v", took)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := start(ctx, s.store, w)
		cancel()
		if err := wantDone(t, done); !errors.Is(err, context.Canceled) || errors.Is(err, backend.ErrOutcomeUnknown) {
			t.Errorf("cancelled: error %v, want Canceled", err)
		}
		s.p.refuse(false)
		eventually(t, "the client is back", s.nc.IsConnected)
		if err := s.nc.Flush(); err != nil {
			t.Fatal(err)
		}
		if got := s.direct.lastSeq(); got != before {
			t.Errorf("%d messages were stored after all", got-before)
		}
		if err := w.write(t.Context(), s.store); err != nil {
			t.Fatal(err)
		}
		w.wantOnce(t, s, before)
	})
}

func TestAWriteThatStartsWhileDisconnectedSucceedsAfterTheReconnect(t *testing.T) {
	eachWriting(t, func(t *testing.T, s *shaky, w *writing) {
		before := s.direct.lastSeq()
		s.p.refuse(true)
		eventually(t, "the client notices", func() bool { return !s.nc.IsConnected() })
		done := start(t.Context(), s.store, w)
		s.p.refuse(false)
		if err := wantDone(t, done); err != nil {
			t.Fatal(err)
		}
		w.wantOnce(t, s, before)
	})
}

func TestAClosedConnectionEndsAnUnknownWriteAtOnce(t *testing.T) {
	eachWriting(t, func(t *testing.T, s *shaky, w *writing) {
		before := s.direct.lastSeq()
		s.loseAnswers()
		done := start(t.Context(), s.store, w)
		eventually(t, "the server has it", func() bool { return s.direct.lastSeq() >= before+uint64(w.messages) })
		s.nc.Close()
		if err := wantDone(t, done); !errors.Is(err, backend.ErrOutcomeUnknown) {
			t.Errorf("error %v, want ErrOutcomeUnknown", err)
		}
		if err := w.write(t.Context(), s.store); !errors.Is(err, backend.ErrUnavailable) || errors.Is(err, backend.ErrOutcomeUnknown) {
			t.Errorf("afterwards: error %v, want ErrUnavailable", err)
		}
	})
}
