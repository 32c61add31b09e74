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
	op := Op{Stream: "x", Expected: expected, Call: h.now, Return: h.now + 1, Err: err}
	for i := range events {
		op.IDs = append(op.IDs, events[i].EventUUID)
	}
	position := uint64(len(h.stored)) + 10
	if store {
		for i := range events {
			h.stored = append(h.stored, backend.RecordedEvent{StreamUUID: "x", EventUUID: events[i].EventUUID, StreamVersion: uint64(len(h.stored)) + 1, Position: position})
		}
	}
	if err == nil {
		op.Version, op.Position = uint64(len(h.stored)), position
	}
	h.note(context.Background(), &op)
	h.now += 2
}

func TestEachBrokenPromiseIsFound(t *testing.T) {
	any := backend.AnyVersion()
	unknown := fmt.Errorf("it: %w", backend.ErrOutcomeUnknown)
	conflict := &backend.WrongExpectedVersionError{}
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
			h.op(backend.ExactVersion(0), events, conflict, false)
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
			h.sawLocked("x", 1, uuid.New())
		}, "and is now"},
		{"corrupted", func(h *history) {
			h.op(any, Events(1), &backend.CorruptedError{}, false)
		}, "corrupted"},
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
	event := func(version, position uint64) backend.RecordedEvent {
		return backend.RecordedEvent{StreamUUID: "x", StreamVersion: version, Position: position, EventUUID: uuid.NewSHA1(uuid.Nil, []byte{byte(version)})}
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
			f := newFollower("it", test.inOrder)
			f.tell(test.events)
			if (f.wrong != "") != test.wrong {
				t.Errorf("wrong: %q", f.wrong)
			}
		})
	}
}

func TestReadsThatNoOrderExplainsAreFound(t *testing.T) {
	for _, test := range []struct {
		name    string
		version uint64
		strict  bool
		wrong   bool
	}{
		{"the newest", 2, true, false},
		{"an old one", 1, true, true},
		{"an old one of a leader that was cut off", 1, false, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := &Load{Ledger: NewLedger(), name: "load", strict: test.strict}
			for i := range uint64(2) {
				op := Op{Stream: l.register(0), Expected: backend.ExactVersion(i), IDs: []uuid.UUID{uuid.New()},
					Call: time.Duration(10 * i), Return: time.Duration(10*i + 5), Version: i + 1}
				l.Ledger.note(t.Context(), &op)
			}
			l.Ledger.looks = append(l.Ledger.looks, look{stream: l.register(0), call: 20, ret: 21, version: test.version, linearizable: true})
			l.checkLinearizable()
			if got := len(l.Ledger.violations) > 0; got != test.wrong {
				t.Errorf("violations %q", l.Ledger.violations)
			}
		})
	}
}
