package faulttest

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tributary-es/tributary/backend"
)

// history is a ledger of appends to one event stream, and what is stored of it.
type history struct {
	*Ledger
	now    time.Duration
	stored []backend.RecordedEvent
}

// op notes an append of events, and stores it where it is to be stored.
func (h *history) op(expected backend.ExpectedVersion, events []backend.UnsavedEvent, err error, store bool) {
	h.ask(events)
	op := Op{Stream: "x", Expected: expected, Call: h.now, Return: h.now + 1, Err: err}
	for i := range events {
		op.IDs = append(op.IDs, events[i].EventUUID)
	}
	position := uint64(len(h.stored)) + 10
	if store {
		for i := range events {
			h.stored = append(h.stored, recorded(events[i], uint64(len(h.stored))+1, position))
		}
	}
	if err == nil {
		op.Version, op.Position = uint64(len(h.stored)), position
	}
	h.note(context.Background(), &op)
	h.now += 2
}

// recorded is an event of the event stream x as it is stored.
func recorded(e backend.UnsavedEvent, version, position uint64) backend.RecordedEvent {
	return backend.RecordedEvent{EventNumber: version, EventUUID: e.EventUUID, StreamUUID: "x", StreamVersion: version, Position: position,
		CausationID: e.CausationID, CorrelationID: e.CorrelationID, EventType: e.EventType, Data: e.Data, Metadata: e.Metadata, CreatedAt: e.CreatedAt}
}

func TestEachBrokenPromiseIsFound(t *testing.T) {
	any := backend.AnyVersion()
	unknown := fmt.Errorf("it: %w", backend.ErrOutcomeUnknown)
	conflict := func(actual uint64) error { return &backend.WrongExpectedVersionError{Actual: actual} }
	for _, test := range []struct {
		name string
		make func(h *history)
		want string // in a violation; empty: all is well
	}{
		{"all is well", func(h *history) {
			h.op(any, Events(2), nil, true)
			h.op(backend.ExactVersion(2), Events(1), nil, true)
			h.op(any, Events(3), unknown, true)
			h.op(any, Events(3), unknown, false)
			h.op(any, Events(1), backend.ErrUnavailable, false)
			again := Events(2)
			h.op(any, again, unknown, true)
			h.op(backend.ExactVersion(2), Events(1), conflict(8), false)
			h.op(any, again, nil, false)
			h.ops[len(h.ops)-1].Position = h.stored[len(h.stored)-1].Position
		}, ""},
		{"lost", func(h *history) {
			h.op(any, Events(1), nil, true)
			h.op(any, Events(1), nil, true)
			h.stored = h.stored[:1]
		}, "lost:"},
		{"doubled", func(h *history) {
			events := Events(1)
			h.op(any, events, unknown, true)
			h.op(any, events, nil, true)
		}, "version 1 and x version 2"},
		{"stored in part", func(h *history) {
			h.op(any, Events(2), unknown, true)
			h.stored = h.stored[:1]
		}, "stored in part"},
		{"stored in two places", func(h *history) {
			h.op(any, Events(2), unknown, true)
			h.stored[1].Position++
		}, "not as one"},
		{"failed, and stored", func(h *history) {
			h.op(any, Events(2), backend.ErrUnavailable, true)
		}, "failed for good"},
		{"unknown, then refused, and stored", func(h *history) {
			events := Events(1)
			h.op(backend.ExactVersion(0), events, unknown, true)
			h.op(backend.ExactVersion(0), events, conflict(1), false)
		}, "failed for good"},
		{"never appended", func(h *history) {
			h.op(any, Events(1), nil, true)
			h.stored = append(h.stored, backend.RecordedEvent{StreamUUID: "x", EventUUID: uuid.New(), StreamVersion: 2})
		}, "never appended"},
		{"a gap", func(h *history) {
			h.op(any, Events(1), nil, true)
			h.op(any, Events(1), unknown, true)
			h.stored[1].StreamVersion = 3
		}, "version 3 where 2 is due"},
		{"acknowledged with another version", func(h *history) {
			h.op(any, Events(1), nil, true)
			h.op(any, Events(1), nil, true)
			h.ops[1].Version = 1
		}, "acknowledged as version 1"},
		{"acknowledged with another position", func(h *history) {
			h.op(any, Events(1), nil, true)
			h.ops[0].Position++
		}, "acknowledged as version 1 at 11"},
		{"not where it was expected", func(h *history) {
			h.op(any, Events(1), nil, true)
			h.op(backend.ExactVersion(0), Events(1), nil, true)
		}, "expected version 0"},
		{"against the order of time", func(h *history) {
			h.op(any, Events(1), nil, true)
			h.op(any, Events(1), nil, true)
			h.ops[0].Call, h.ops[0].Return = 100, 101
		}, "was acknowledged before"},
		{"another event is there than was read", func(h *history) {
			h.op(any, Events(1), unknown, true)
			h.sawLocked("it", "x", 1, uuid.New())
		}, "and is now"},
		{"corrupted", func(h *history) {
			h.op(any, Events(1), &backend.CorruptedError{}, false)
		}, "corrupted"},
		{"other data", func(h *history) {
			h.op(any, Events(1), nil, true)
			h.stored[0].Data = []byte("other")
		}, "altered"},
		{"two events exchanged", func(h *history) {
			h.op(any, Events(2), nil, true)
			a, b := &h.stored[0], &h.stored[1]
			a.Data, a.Metadata, a.EventType, b.Data, b.Metadata, b.EventType = b.Data, b.Metadata, b.EventType, a.Data, a.Metadata, a.EventType
		}, "altered"},
		{"other metadata", func(h *history) {
			h.op(any, Events(1), nil, true)
			h.stored[0].Metadata = append(h.stored[0].Metadata, 0)
		}, "altered"},
		{"another cause", func(h *history) {
			h.op(any, Events(1), nil, true)
			h.stored[0].CausationID = uuid.New()
		}, "altered"},
		{"another time", func(h *history) {
			h.op(any, Events(1), nil, true)
			h.stored[0].CreatedAt = h.stored[0].CreatedAt.Add(1)
		}, "altered"},
		{"recorded at another time than was read", func(h *history) {
			h.op(any, Events(1), nil, true)
			h.mu.Lock()
			defer h.mu.Unlock()
			before := h.stored[0]
			before.RecordedAt = before.RecordedAt.Add(1)
			h.readLocked("it", &before)
		}, "and now as"},
		{"refused at the version that was expected", func(h *history) {
			h.op(any, Events(1), nil, true)
			h.op(backend.ExactVersion(1), Events(1), conflict(1), false)
		}, "as it has that version"},
		{"refused at a version that it never had", func(h *history) {
			h.op(any, Events(1), nil, true)
			h.op(backend.ExactVersion(1), Events(1), conflict(2), false)
		}, "and it ends at 1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := &history{Ledger: NewLedger()}
			test.make(h)
			res := h.Compare(map[string][]backend.RecordedEvent{"x": h.stored})
			h.finish(&res)
			got := strings.Join(res.Violations, "\n")
			if test.want == "" && got != "" || !strings.Contains(got, test.want) {
				t.Errorf("found %q, want %q", got, test.want)
			}
		})
	}
}

func TestAFollowerThatIsToldTheWrongThingIsFound(t *testing.T) {
	appended := Events(3)
	event := func(version, position uint64) backend.RecordedEvent {
		return recorded(appended[version-1], version, position)
	}
	for _, test := range []struct {
		name    string
		inOrder bool
		events  []backend.RecordedEvent
		wrong   bool
	}{
		{"in order", true, []backend.RecordedEvent{event(1, 1), event(2, 1), event(3, 5)}, false},
		{"a gap", true, []backend.RecordedEvent{event(1, 1), event(3, 5)}, true},
		{"again", true, []backend.RecordedEvent{event(1, 1), event(1, 1)}, true},
		{"back", true, []backend.RecordedEvent{event(1, 2), event(2, 1)}, true},
		{"again, to a member", false, []backend.RecordedEvent{event(1, 1), event(2, 2), event(1, 1), event(2, 2), event(3, 3)}, false},
		{"a gap, to a member", false, []backend.RecordedEvent{event(1, 1), event(3, 3)}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := NewLedger()
			l.ask(appended)
			f := newFollower(l, "it", test.inOrder)
			f.tell(test.events)
			if (f.wrong != "") != test.wrong {
				t.Errorf("wrong: %q", f.wrong)
			}
		})
	}
}

func TestALifeThatIsNotAsItsLastStepMadeItIsFound(t *testing.T) {
	appended := Events(4)
	var all []backend.RecordedEvent
	for i, e := range appended {
		all = append(all, recorded(e, uint64(i)+1, uint64(i)+10))
	}
	for _, test := range []struct {
		name   string
		hidden error // as it is to be
		read   []backend.RecordedEvent
		err    error
		all    []backend.RecordedEvent
		want   string
	}{
		{"all is well", nil, all[2:], nil, all[2:], ""},
		{"all is well, but for what is still to be erased", nil, all[2:], nil, all, ""},
		{"one too many", nil, all[1:], nil, all[2:], "3 events, want 2"},
		{"one too few", nil, all[3:], nil, all[2:], "1 events, want 2"},
		{"lost", nil, all[2:], nil, all[3:], "lost: event"},
		{"doubled", nil, all[2:], nil, append(all[2:4:4], all[3]), "more than once"},
		{"not there", nil, nil, backend.ErrStreamNotFound, all[2:], "not found"},
		{"hidden", backend.ErrStreamDeleted, nil, backend.ErrStreamDeleted, all[2:], ""},
		{"not hidden", backend.ErrStreamDeleted, all[2:], nil, all[2:], "want error"},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := NewLedger()
			l.ask(appended)
			v := &lived{first: 3, hidden: test.hidden, begun: make(map[uuid.UUID]uint64)}
			l.lives["x"] = v
			for i, e := range appended {
				v.begun[e.EventUUID] = uint64(i) + 1
				if i >= 2 {
					v.events = append(v.events, e.EventUUID)
				}
			}
			var res Result
			l.compareLifeLocked("x", v, test.read, test.err, test.all, &res)
			got := strings.Join(l.violations, "\n")
			if test.want == "" && got != "" || !strings.Contains(got, test.want) {
				t.Errorf("found %q, want %q", got, test.want)
			}
		})
	}
}

func TestTheWindowLetsNoMoreComeThanIsSearched(t *testing.T) {
	var w window
	first := uuid.New()
	if !w.tryEnter(first) {
		t.Fatal("the first one may not begin")
	}
	for i := range widest {
		id := uuid.New()
		if !w.tryEnter(id) {
			t.Fatalf("after %d others none may begin", i)
		}
		w.leave(id)
	}
	if w.tryEnter(uuid.New()) {
		t.Fatal("too many may begin")
	}
	w.leave(first)
	if !w.tryEnter(uuid.New()) {
		t.Fatal("none may begin once the first is certain")
	}
}

func TestReadsAndRefusalsThatNoOrderExplainsAreFound(t *testing.T) {
	for _, test := range []struct {
		name    string
		version uint64
		refused bool
		strict  bool
		wrong   bool
	}{
		{"the newest", 2, false, true, false},
		{"an old one", 1, false, true, true},
		{"an old one of a leader that was cut off", 1, false, false, false},
		{"refused at the newest", 2, true, true, false},
		{"refused at an old one", 1, true, true, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := &Load{Ledger: NewLedger(), name: "load", strict: test.strict}
			for i := range uint64(2) {
				op := Op{Stream: l.register(0), Expected: backend.ExactVersion(i), IDs: []uuid.UUID{uuid.New()},
					Call: time.Duration(10 * i), Return: time.Duration(10*i + 5), Version: i + 1}
				l.Ledger.note(t.Context(), &op)
			}
			if test.refused {
				l.Ledger.note(t.Context(), &Op{Stream: l.register(0), Expected: backend.ExactVersion(7), IDs: []uuid.UUID{uuid.New()},
					Call: 20, Return: 21, Err: &backend.WrongExpectedVersionError{Actual: test.version}})
				l.checkLinearizable()
				if got := len(l.Ledger.violations) > 0; got != test.wrong {
					t.Errorf("violations %q", l.Ledger.violations)
				}
				return
			}
			l.Ledger.looks = append(l.Ledger.looks, look{stream: l.register(0), call: 20, ret: 21, version: test.version, linearizable: true})
			l.checkLinearizable()
			if got := len(l.Ledger.violations) > 0; got != test.wrong {
				t.Errorf("violations %q", l.Ledger.violations)
			}
		})
	}
}
