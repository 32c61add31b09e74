package jetstream_test

import (
	"fmt"
	"maps"
	"math"
	"runtime"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/jetstream"
	"github.com/tributary-es/tributary/jetstream/internal/wire"
)

// chained stores an event stream of ten commits of one to three events, whose
// last message's chain is as forge makes it of the right one, and returns its
// version.
func chained(t *testing.T, s *store, forge func(right []wire.Link) string) uint64 {
	t.Helper()
	state := begun()
	var chain []wire.Link
	for i := range 10 {
		s.add("other", 1)
		n := 1 + i%3
		m := encode(t, n, state, chain, 0)[0]
		if i == 9 {
			m.Header = maps.Clone(m.Header)
			m.Header[wire.HeaderChain] = []string{forge(chain)}
		}
		position := s.put("x", m)[0]
		chain = append([]wire.Link{{Position: position, Events: uint32(n), Parts: 1}}, chain...)
		state.Version += uint64(n)
	}
	return state.Version
}

func writeChain(chain []wire.Link) string {
	entries := make([]string, len(chain))
	for i, l := range chain {
		entries[i] = fmt.Sprintf("%d:%d", l.Position, l.Events)
		if l.Parts > 1 {
			entries[i] += fmt.Sprintf(":%d", l.Parts)
		}
	}
	return strings.Join(entries, " ")
}

// each makes a forgery that changes every link.
func each(change func(l *wire.Link)) func([]wire.Link) string {
	return func(right []wire.Link) string {
		forged := append([]wire.Link(nil), right...)
		for i := range forged {
			change(&forged[i])
		}
		return writeChain(forged)
	}
}

func TestWrongChainsOnlyCostTime(t *testing.T) {
	for name, forge := range map[string]func(right []wire.Link) string{
		"right":                          writeChain,
		"none":                           func([]wire.Link) string { return "" },
		"positions of another stream":    each(func(l *wire.Link) { l.Position-- }),
		"positions beyond the end":       each(func(l *wire.Link) { l.Position += 1000 }),
		"positions of zero":              each(func(l *wire.Link) { l.Position = 0 }),
		"the greatest position":          each(func(l *wire.Link) { l.Position = math.MaxUint64 }),
		"the greatest position and part": each(func(l *wire.Link) { l.Position, l.Parts = math.MaxUint64, math.MaxUint32 }),
		"itself":                         each(func(l *wire.Link) { l.Position = 20 }),
		"too many events":                each(func(l *wire.Link) { l.Events += 2 }),
		"the most events":                each(func(l *wire.Link) { l.Events = math.MaxUint32 }),
		"one event too few":              each(func(l *wire.Link) { l.Events = max(1, l.Events-1) }),
		"events of zero":                 each(func(l *wire.Link) { l.Events = 0 }),
		"too many parts":                 each(func(l *wire.Link) { l.Parts = 2 }),
		"more parts than any commit has": each(func(l *wire.Link) { l.Position, l.Parts = 1<<40, 1<<30 }),
		"one link missing": func(right []wire.Link) string {
			return writeChain(append(append([]wire.Link(nil), right[:3]...), right[4:]...))
		},
		"one link twice": func(right []wire.Link) string {
			return writeChain(append(append([]wire.Link(nil), right[:4]...), right[3:]...))
		},
		"the wrong way round": func(right []wire.Link) string {
			turned := append([]wire.Link(nil), right...)
			for i := range turned {
				turned[i] = right[len(right)-1-i]
			}
			return writeChain(turned)
		},
		"truncated":            func(right []wire.Link) string { return writeChain(right)[:9] },
		"only the first":       func(right []wire.Link) string { return writeChain(right[:1]) },
		"garbage":              func([]wire.Link) string { return "not a chain : 1:2:3:4 -5 \u00e4" },
		"garbage at the end":   func(right []wire.Link) string { return writeChain(right) + " x:y" },
		"many blanks":          func(right []wire.Link) string { return strings.ReplaceAll(writeChain(right), " ", "   ") },
		"a number far too big": func([]wire.Link) string { return strings.Repeat("9", 60) + ":1" },
		"more links than a reader takes": func(right []wire.Link) string {
			return writeChain(right) + strings.Repeat(" 1:1", 1000)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t, jetstream.Config{})
			version := chained(t, s, forge)
			for _, b := range []*store{s, s.again(jetstream.Config{})} {
				wantStream(t, b, "x", version)
			}
			wantEveryRange(t, s, "x", version)
			for from := uint64(1); from <= version; from++ {
				events, err := subscribed(t, s, backend.SubscribeOptions{Stream: "x", From: backend.FromVersion(from)})
				if err != nil {
					t.Fatalf("subscribing from version %d: %v", from, err)
				}
				wantVersions(t, events, from, version)
			}
			s.append("x", backend.ExactVersion(version), identified(2))
			s.append("x", backend.AnyVersion(), identified(1))
			wantStream(t, s, "x", version+3)
		})
	}
}

// wantEveryRange reads a lot of ranges of an event stream both ways.
func wantEveryRange(t *testing.T, b *store, name string, version uint64) {
	t.Helper()
	for from := uint64(1); from <= version; from += 8 {
		for _, limit := range []uint64{4, version} {
			events, err := b.ReadStream(t.Context(), name, from, limit, uuid.Nil)
			if err != nil {
				t.Fatalf("from %d, limit %d: %v", from, limit, err)
			}
			wantVersions(t, events, from, min(from+limit-1, version))
			events, err = backend.ReadStreamBackward(t.Context(), b, name, from, limit, uuid.Nil)
			if err != nil {
				t.Fatalf("backward from %d, limit %d: %v", from, limit, err)
			}
			for i := range events {
				if want := from - uint64(i); events[i].StreamVersion != want {
					t.Fatalf("backward from %d: event %d has version %d, want %d", from, i, events[i].StreamVersion, want)
				}
			}
			if want := min(limit, from); uint64(len(events)) != want {
				t.Fatalf("backward from %d, limit %d: %d events, want %d", from, limit, len(events), want)
			}
		}
	}
}

func TestAWrongChainTakesNoMemory(t *testing.T) {
	s := newStore(t, jetstream.Config{})
	version := chained(t, s, each(func(l *wire.Link) { l.Position, l.Parts = 1<<40, 1<<26 }))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	wantVersions(t, s.all("x"), 1, version)
	runtime.ReadMemStats(&after)
	if took := after.TotalAlloc - before.TotalAlloc; took > 64<<20 {
		t.Errorf("reading %d events took %d MiB", version, took>>20)
	}
}

func TestAChainThroughMarkersAndIncarnationsIsRight(t *testing.T) {
	ctx := t.Context()
	s := newStore(t, jetstream.Config{})
	b := s.again(jetstream.Config{})
	s.add("x", 3, 2, 1)
	if err := s.DeleteStream(ctx, backend.Stream{UUID: "x"}, uuid.Nil); err != nil {
		t.Fatal(err)
	}
	s.add("x", 1, 4)
	for range 3 {
		if err := b.SoftDelete(ctx, "x", backend.StreamExists(), uuid.Nil); err != nil {
			t.Fatal(err)
		}
		if err := s.Restore(ctx, "x", uuid.Nil); err != nil {
			t.Fatal(err)
		}
		b.add("x", 2)
	}
	wantStream(t, s, "x", 11)
	wantEveryRange(t, b, "x", 11)
	if err := b.Truncate(ctx, "x", 4, uuid.Nil); err != nil {
		t.Fatal(err)
	}
	s.add("x", 3)
	for _, b := range []*store{s, b, s.again(jetstream.Config{})} {
		for _, r := range readers {
			events, err := r.read(ctx, b, "x")
			if err != nil {
				t.Fatalf("%s: %v", r.name, err)
			}
			wantVersions(t, events, 4, 14)
		}
	}
}
