package jetstream_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/internal/blockfile"
	"github.com/tributary-es/tributary/internal/testserver"
	"github.com/tributary-es/tributary/jetstream"
)

// damaged has a store whose server is stopped, has its files changed, and is
// started again.
func damaged(t *testing.T, fill func(s *store), damage func(dir string, records []blockfile.Record)) *store {
	t.Helper()
	server := testserver.Single(t)
	s := openStore(t, server.Connect(t), jetstream.Config{RequestTimeout: 100 * time.Millisecond})
	fill(s)
	server.Stop()
	records, err := blockfile.Records(server.StoreDir(), jetstream.DefaultStream)
	if err != nil {
		t.Fatal(err)
	}
	damage(server.StoreDir(), records)
	if err := server.Restart(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the client is back", func() bool { return s.nc.FlushTimeout(time.Second) == nil })
	return s
}

// flip inverts a bit of the body of the message at a position, so that its
// checksum is wrong.
func flip(t *testing.T, position uint64) func(string, []blockfile.Record) {
	return func(_ string, records []blockfile.Record) {
		t.Helper()
		i := slices.IndexFunc(records, func(r blockfile.Record) bool { return r.Sequence == position })
		if err := blockfile.Flip(records[i].File, records[i].BodyAt, 0); err != nil {
			t.Fatal(err)
		}
	}
}

// The server says of a message that it can't read that there is none.
func TestALastMessageThatCantBeReadIsNoMissingEventStream(t *testing.T) {
	for name, commits := range map[string][]int{"of several": {1, 2, 1}, "of one": {2}} {
		t.Run(name, func(t *testing.T) {
			var position uint64
			s := damaged(t, func(s *store) {
				position = s.add("x", commits...).Position
				s.add("y", 1, 1)
			}, func(dir string, records []blockfile.Record) { flip(t, position)(dir, records) })
			before := s.lastSeq()
			for config, cfg := range map[string]jetstream.Config{"any replica": {}, "the leader": {ReadConsistency: jetstream.ReadLeader}} {
				t.Run(config, func(t *testing.T) {
					b := s.again(cfg)
					for _, r := range readers {
						events, err := r.read(t.Context(), b, "x")
						if !errors.Is(err, backend.ErrCorrupted) {
							t.Errorf("%s: %d events, error %v, want ErrCorrupted", r.name, len(events), err)
						}
					}
					if _, err := b.ReadStreamInfo(t.Context(), "x", uuid.Nil); !errors.Is(err, backend.ErrCorrupted) {
						t.Errorf("info: %v, want ErrCorrupted", err)
					}
					for _, expected := range []backend.ExpectedVersion{backend.AnyVersion(), backend.StreamExists(), backend.ExactVersion(4)} {
						_, err := backend.Append(t.Context(), b, "x", expected, identified(1), uuid.Nil)
						if !errors.Is(err, backend.ErrCorrupted) {
							t.Errorf("append to %s: %v, want ErrCorrupted", expected, err)
						}
					}
					wantVersions(t, b.all("y"), 1, 2)
				})
			}
			if got := s.lastSeq(); got != before {
				t.Errorf("something was written at %d", got)
			}
			t.Run("until it is deleted", func(t *testing.T) {
				b := s.again(jetstream.Config{})
				if err := b.DeleteStream(t.Context(), backend.Stream{UUID: "x"}, uuid.Nil); err != nil {
					t.Fatal(err)
				}
				b.append("x", backend.NoStream(), identified(2))
				wantStream(t, b, "x", 2)
			})
		})
	}
}

// subscribed ranges over a subscription until its error, or for a while.
func subscribed(t *testing.T, s *store, options backend.SubscribeOptions) (events []backend.RecordedEvent, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for batch, err := range s.Subscribe(ctx, options) {
		events = append(events, batch.Events...)
		if err != nil || batch.CaughtUp {
			return events, err
		}
	}
	return events, nil
}

// The server passes over a message that it can't read without a word.
func TestEventsThatTheServerPassesOverAreNamed(t *testing.T) {
	var bad, next uint64
	s := damaged(t, func(s *store) {
		s.add("x", 1, 1)
		s.add("y", 1)
		bad = s.add("x", 2).Position
		s.add("y", 1)
		next = s.add("x", 1, 1).Position - 1
	}, func(dir string, records []blockfile.Record) { flip(t, bad)(dir, records) })
	want := func(t *testing.T, err error) {
		t.Helper()
		corrupted := wantCorrupted(t, err, next-1)
		if corrupted.StreamUUID != "x" || corrupted.FirstVersion != 3 || corrupted.LastVersion != 4 {
			t.Errorf("error %v, want the versions 3 to 4 of x", err)
		}
	}
	for name, after := range map[string]uint64{"from the beginning": 0, "from within": 1, "from just before": bad - 1} {
		t.Run("ReadAll "+name, func(t *testing.T) {
			events, err := readAll(t.Context(), s, backend.ReadAllOptions{After: after})
			want(t, err)
			if n := len(events) + int(after); n != 4 {
				t.Errorf("%d events before it, want %d", len(events), 4-after)
			}
		})
		t.Run("Subscribe "+name, func(t *testing.T) {
			_, err := subscribed(t, s, backend.SubscribeOptions{From: backend.AfterPosition(after)})
			want(t, err)
		})
		t.Run("Subscribe to the event stream "+name, func(t *testing.T) {
			_, err := subscribed(t, s, backend.SubscribeOptions{Stream: "x", From: backend.AfterPosition(after)})
			corrupted, ok := errors.AsType[*backend.CorruptedError](err)
			if !ok || corrupted.StreamUUID != "x" || corrupted.FirstVersion != 3 || corrupted.LastVersion != 4 {
				t.Errorf("error %v, want the versions 3 to 4 of x", err)
			}
		})
	}
	t.Run("a member that has x, and not y", func(t *testing.T) {
		for _, after := range []uint64{0, 1, 2, bad - 1} {
			var last error
			for batch, err := range s.Follow(within(t, patience), backend.SubscribeOptions{From: backend.AfterPosition(after)},
				func(name string) bool { return name == "x" }) {
				if last = err; batch.CaughtUp {
					break
				}
			}
			want(t, last)
		}
	})
	t.Run("a named subscription, however often it is begun", func(t *testing.T) {
		for range 2 {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			err := s.Consume(ctx, "all", backend.ConsumeOptions{From: backend.FromBeginning()}, func(context.Context, backend.Commit) error { return nil })
			cancel()
			want(t, err)
		}
	})
	t.Run("what comes after", func(t *testing.T) {
		events, err := readAll(t.Context(), s, backend.ReadAllOptions{After: next - 1})
		if err != nil || len(events) != 2 {
			t.Errorf("ReadAll: %d events, error %v, want 2", len(events), err)
		}
		events, err = subscribed(t, s, backend.SubscribeOptions{From: backend.AfterPosition(next - 1)})
		if err != nil || len(events) != 2 {
			t.Errorf("Subscribe: %d events, error %v, want 2", len(events), err)
		}
		events, err = subscribed(t, s, backend.SubscribeOptions{Stream: "x", From: backend.AfterPosition(next - 1)})
		if err != nil || len(events) != 2 {
			t.Errorf("Subscribe to the event stream: %d events, error %v, want 2", len(events), err)
		}
	})
	t.Run("until they are truncated", func(t *testing.T) {
		if err := s.Truncate(t.Context(), "x", 5, uuid.Nil); err != nil {
			t.Fatal(err)
		}
		if _, err := readAll(t.Context(), s, backend.ReadAllOptions{}); err != nil {
			t.Error(err)
		}
	})
}

func TestASubscriptionToATruncatedEventStreamMissesItsFirstEvents(t *testing.T) {
	var first uint64
	s := damaged(t, func(s *store) {
		s.add("x", 1, 1)
		first = s.add("x", 1).Position
		s.add("x", 1)
		if err := s.Truncate(t.Context(), "x", 3, uuid.Nil); err != nil {
			t.Fatal(err)
		}
	}, func(dir string, records []blockfile.Record) { flip(t, first)(dir, records) })
	events, err := subscribed(t, s.again(jetstream.Config{}), backend.SubscribeOptions{Stream: "x"})
	corrupted, ok := errors.AsType[*backend.CorruptedError](err)
	if !ok || corrupted.FirstVersion != 3 || corrupted.LastVersion != 3 || len(events) != 0 {
		t.Errorf("%d events, error %v, want the version 3 of x", len(events), err)
	}
}

// A server that can't read one of the messages which a marker takes the place of
// erases the marker.
func TestWhatReplacesADamagedMessageIsKept(t *testing.T) {
	for name, replace := range map[string]struct {
		do   func(s *store) error
		want func(t *testing.T, s *store)
	}{
		"deleting": {
			func(s *store) error { return s.DeleteStream(s.t.Context(), backend.Stream{UUID: "x"}, uuid.Nil) },
			func(t *testing.T, s *store) {
				if _, err := s.ReadStreamInfo(t.Context(), "x", uuid.Nil); !errors.Is(err, backend.ErrStreamNotFound) {
					t.Errorf("info: %v, want ErrStreamNotFound", err)
				}
				for version := range uint64(3) {
					s.append("x", backend.ExactVersion(version), identified(1))
				}
				wantStream(t, s.again(jetstream.Config{}), "x", 3)
			},
		},
		"beginning anew by an import": {
			func(s *store) error {
				if err := s.DeleteStream(s.t.Context(), backend.Stream{UUID: "x"}, uuid.Nil); err != nil {
					return err
				}
				_, err := backend.Import(s.t.Context(), s, func(yield func(backend.StreamAppend, error) bool) {
					yield(backend.StreamAppend{StreamUUID: "x", Expected: backend.NoStream(), Events: identified(1)}, nil)
				}, backend.ImportOptions{}, uuid.Nil)
				return err
			},
			func(t *testing.T, s *store) {
				for _, b := range []*store{s, s.again(jetstream.Config{})} {
					wantStream(t, b, "x", 1)
				}
				s.append("x", backend.ExactVersion(1), identified(1))
				wantStream(t, s.again(jetstream.Config{}), "x", 2)
			},
		},
		"truncating all": {
			func(s *store) error { return s.Truncate(s.t.Context(), "x", 6, uuid.Nil) },
			func(t *testing.T, s *store) {
				if got := s.info("x").Version; got != 5 {
					t.Errorf("version %d, want 5", got)
				}
				s.append("x", backend.ExactVersion(5), identified(1))
				wantVersions(t, s.again(jetstream.Config{}).all("x"), 6, 6)
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var bad uint64
			s := damaged(t, func(s *store) {
				s.add("x", 1, 1)
				bad = s.add("x", 2).Position
				s.add("x", 1)
			}, func(dir string, records []blockfile.Record) { flip(t, bad)(dir, records) })
			if err := replace.do(s); err != nil {
				t.Fatal(err)
			}
			replace.want(t, s)
		})
	}
}

// What is acknowledged may be erased until the server was asked whether it remained,
// and what it replaces is gone.
func TestWhatReplacesADamagedMessageIsUnknownUntilItIsFound(t *testing.T) {
	// What happens between that it is stored and that the caller knows.
	for name, meanwhile := range map[string]func(t *testing.T, s *store, p *proxy, cancel func()){
		"no answer to whether it is there": func(t *testing.T, _ *store, p *proxy, cancel func()) {
			const asking = "$JS.API.STREAM.MSG.GET.EVENTS"
			p.take()
			p.on(func(subject string) fate {
				if subject == asking {
					return swallow
				}
				return arrives
			})
			p.set(flowing)
			eventually(t, "it is asked for", func() bool { return p.seen(asking) > 0 })
			cancel()
		},
		"no room to write it again": func(t *testing.T, s *store, p *proxy, _ func()) {
			cfg := configOf(t, s.js, jetstream.DefaultStream)
			cfg.MaxBytes = 1
			if _, err := s.js.UpdateStream(t.Context(), cfg); err != nil {
				t.Fatal(err)
			}
			p.on(nil)
			p.set(flowing)
		},
	} {
		t.Run(name, func(t *testing.T) {
			var bad uint64
			direct := damaged(t, func(s *store) {
				bad = s.add("x", 1, 2).Position
				s.add("x", 1)
			}, func(dir string, records []blockfile.Record) { flip(t, bad)(dir, records) })
			p := newProxyTo(t, direct.nc.ConnectedUrl())
			s := openStore(t, p.connect(), jetstream.Config{RequestTimeout: patience})
			before := direct.lastSeq()
			p.on(func(subject string) fate {
				if subject == "events.x" {
					p.answers = withheld
				}
				return arrives
			})
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			done := make(chan error, 1)
			go func() { done <- s.DeleteStream(ctx, backend.Stream{UUID: "x"}, uuid.Nil) }()
			eventually(t, "the server has it", func() bool { return direct.lastSeq() > before })
			meanwhile(t, direct, p, cancel)
			if err := wantDone(t, done); !errors.Is(err, backend.ErrOutcomeUnknown) || errors.Is(err, backend.ErrUnavailable) || errors.Is(err, backend.ErrStoreFull) {
				t.Errorf("error %v, want ErrOutcomeUnknown", err)
			}
		})
	}
}

// With no head known, an append that begins an event stream asks nobody but the
// server's fence, and that can't read the last message either.
func TestAnEventStreamThatBeganAnewOverADamagedOneIsNamed(t *testing.T) {
	var bad uint64
	s := damaged(t, func(s *store) {
		s.add("x", 1, 1)
		bad = s.add("x", 2).Position
	}, func(dir string, records []blockfile.Record) { flip(t, bad)(dir, records) })
	anew := s.again(jetstream.Config{}).append("x", backend.NoStream(), identified(1))
	_, err := readAll(t.Context(), s, backend.ReadAllOptions{})
	wantCorrupted(t, err, anew.Position-1)
	_, err = subscribed(t, s, backend.SubscribeOptions{From: backend.FromBeginning()})
	wantCorrupted(t, err, anew.Position-1)
	_, err = subscribed(t, s, backend.SubscribeOptions{Stream: "x", From: backend.FromBeginning()})
	wantCorrupted(t, err, anew.Position-1)
}

// What a process has seen of an event stream it must see again.
func TestASubscriptionIsNotCaughtUpBeforeWhatItsProcessHasSeen(t *testing.T) {
	s := damaged(t, func(s *store) {
		s.add("x", 1, 1, 1)
		s.add("y", 1, 1)
	}, func(dir string, records []blockfile.Record) {
		// The messages of y remain the last ones, in a block that begins with them.
		r := records[2]
		data, err := os.ReadFile(r.File)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(r.File, slices.Concat(data[:r.Start], data[r.End:]), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(blockfile.Index(dir, jetstream.DefaultStream)); err != nil {
			t.Fatal(err)
		}
	})
	events, err := subscribed(t, s, backend.SubscribeOptions{Stream: "x", From: backend.FromBeginning()})
	if !errors.Is(err, backend.ErrCorrupted) {
		t.Errorf("%d events, error %v, want ErrCorrupted", len(events), err)
	}
	if events, err = subscribed(t, s, backend.SubscribeOptions{Stream: "y", From: backend.FromBeginning()}); err != nil || len(events) != 2 {
		t.Errorf("%d events of another, error %v", len(events), err)
	}
	t.Run("however long a leader of several replicas is waited for", func(t *testing.T) {
		s.AsReplicated(500*time.Millisecond, time.Second)
		events, err := subscribed(t, s, backend.SubscribeOptions{Stream: "x", From: backend.FromBeginning()})
		if !errors.Is(err, backend.ErrCorrupted) {
			t.Errorf("%d events, error %v, want ErrCorrupted", len(events), err)
		}
	})
}

// A server that lost its last messages gives their positions once more.
func TestASubscriptionDoesNotWaitBehindTheEndOfAStoreThatWentBack(t *testing.T) {
	server := testserver.Single(t)
	cfg := jetstream.Config{RequestTimeout: 20 * time.Millisecond}
	for name, options := range map[string]backend.SubscribeOptions{
		"from the beginning": {From: backend.FromBeginning()},
		"from now":           {From: backend.FromNow()},
		"of an event stream": {From: backend.FromBeginning(), Stream: "x"},
	} {
		t.Run(name, func(t *testing.T) {
			s := openStore(t, server.Connect(t), cfg)
			s.add("x", 1, 1, 1)
			last := s.lastSeq()
			damaged := false
			for batch, err := range s.Subscribe(within(t, patience), options) {
				if err != nil {
					if !damaged {
						t.Fatal(err)
					}
					if !errors.Is(err, backend.ErrCorrupted) {
						t.Fatalf("error %v, want ErrCorrupted", err)
					}
					return
				}
				if batch.Position < last || !batch.CaughtUp || damaged {
					continue
				}
				damaged = true
				server.Stop()
				records, err := blockfile.Records(server.StoreDir(), jetstream.DefaultStream)
				if err != nil {
					t.Fatal(err)
				}
				r := records[len(records)-2]
				if err := os.Truncate(r.File, r.Start); err != nil {
					t.Fatal(err)
				}
				if err := os.Remove(blockfile.Index(server.StoreDir(), jetstream.DefaultStream)); err != nil {
					t.Fatal(err)
				}
				if err := server.Restart(); err != nil {
					t.Fatal(err)
				}
			}
			t.Fatal("the subscription ended without an error")
		})
	}
}

// Who comes new to a store of which the server cut the end can't know what was
// there, but the server says that something was.
func TestOpenTellsThatTheServerLostData(t *testing.T) {
	cut := func(_ *testserver.Server, records []blockfile.Record) error {
		return os.Truncate(records[2].File, records[2].Start+10) // y was the messages 3 and 4
	}
	for name, test := range map[string]struct {
		damage func(*testserver.Server, []blockfile.Record) error
		which  string
	}{
		"a block cut": {cut, "it doesn't know which"},
		"a block cut, after kill -9": {func(server *testserver.Server, records []blockfile.Record) error {
			return errors.Join(cut(server, records), os.Remove(blockfile.Index(server.StoreDir(), jetstream.DefaultStream)))
		}, "it doesn't know which"},
		"a block gone": {func(_ *testserver.Server, records []blockfile.Record) error {
			return os.Remove(records[0].File)
		}, "4 of those from position 1 to 4"},
	} {
		t.Run(name, func(t *testing.T) {
			server := testserver.Single(t)
			s := openStore(t, server.Connect(t), jetstream.Config{})
			s.add("x", 1, 1)
			s.add("y", 1, 1)
			restart := func(damage func(*testserver.Server, []blockfile.Record) error) {
				t.Helper()
				server.Stop()
				if damage != nil {
					records, err := blockfile.Records(server.StoreDir(), jetstream.DefaultStream)
					if err := errors.Join(err, damage(server, records)); err != nil {
						t.Fatal(err)
					}
				}
				if err := server.Restart(); err != nil {
					t.Fatal(err)
				}
				eventually(t, "the client is back", func() bool { return s.nc.FlushTimeout(time.Second) == nil })
			}
			told := func() string {
				t.Helper()
				var lines bytes.Buffer
				logger := slog.New(slog.NewTextHandler(&lines, &slog.HandlerOptions{Level: slog.LevelWarn}))
				s.again(jetstream.Config{Logger: logger})
				return lines.String()
			}
			if got := told(); got != "" {
				t.Errorf("where nothing was lost, the logger was told %q", got)
			}
			restart(nil)
			if got := told(); got != "" {
				t.Errorf("after a restart without damage, the logger was told %q", got)
			}
			restart(test.damage)
			if got := told(); !strings.Contains(got, "lost") || !strings.Contains(got, test.which) {
				t.Errorf("the logger was told %q, want %q", got, test.which)
			}
			restart(nil)
			if got := told(); got != "" { // or docs/reliability.md is wrong
				t.Errorf("after another start, the logger was told %q", got)
			}
		})
	}
}

// The last message of a commit is stored after all others of it, so that these are
// missing, even where nothing comes behind it.
func TestAPartOfTheLastCommitThatCantBeReadIsNamed(t *testing.T) {
	for _, position := range []uint64{3, 4} {
		t.Run(fmt.Sprint("message ", position), func(t *testing.T) {
			s := damaged(t, func(s *store) {
				parts := s.again(jetstream.Config{EventsPerMessage: 1})
				parts.add("x", 1, 1)
				if at := parts.add("x", 3).Position; at != 5 {
					t.Fatalf("the commit ends at position %d, want 5", at)
				}
				if _, err := s.ReadStreamInfo(t.Context(), "x", uuid.Nil); err != nil {
					t.Fatal(err)
				}
			}, flip(t, position))
			for who, b := range map[string]*store{"who knew": s, "who comes new": s.again(jetstream.Config{})} {
				for what, options := range map[string]backend.SubscribeOptions{"the event stream": {Stream: "x"}, "all": {}} {
					events, err := subscribed(t, b, options)
					if !errors.Is(err, backend.ErrCorrupted) {
						t.Errorf("%s: a subscription to %s: %d events, error %v, want ErrCorrupted", who, what, len(events), err)
					}
				}
				events, err := readAll(t.Context(), b, backend.ReadAllOptions{})
				if !errors.Is(err, backend.ErrCorrupted) {
					t.Errorf("%s: ReadAll: %d events, error %v, want ErrCorrupted", who, len(events), err)
				}
			}
		})
	}
}
