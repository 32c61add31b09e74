package backendtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/tributary-es/tributary/backend"
)

// tester is what is common to testing.T and rapid.T.
type tester interface {
	Helper()
	Context() context.Context
	Cleanup(func())
	Error(args ...any)
	Fatal(args ...any)
	Fatalf(format string, args ...any)
	Skip(args ...any)
}

func must(t tester, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("unexpected error: %v", err)
	}
}

// mustOrSkip skips the clause where err says that the backend lacks a capability.
func mustOrSkip(t tester, err error) {
	t.Helper()
	if errors.Is(err, backend.ErrUnsupported) {
		t.Skip(err)
	}
	must(t, err)
}

func wantErr(t tester, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("got the error %v, want one that is %q", err, want)
	}
}

// wantWrongVersion checks that err is a *WrongExpectedVersionError which tells
// what the caller must know to go on.
func wantWrongVersion(t tester, err error, name string, expected backend.ExpectedVersion, actual uint64) {
	t.Helper()
	wantErr(t, err, backend.ErrWrongExpectedVersion)
	wrong, ok := errors.AsType[*backend.WrongExpectedVersionError](err)
	switch {
	case !ok:
		t.Fatalf("the error %q is no *WrongExpectedVersionError", err)
	case wrong.StreamUUID != name || wrong.Expected != expected || wrong.Actual != actual:
		t.Fatalf("the error tells of event stream %q, expected %v, actual %d; want %q, %v, %d",
			wrong.StreamUUID, wrong.Expected, wrong.Actual, name, expected, actual)
	}
}

// wantDetail checks that err is a wrong version about which there is more to
// say: the append was stored before, but only in part.
func wantDetail(t tester, err error) {
	t.Helper()
	wantErr(t, err, backend.ErrWrongExpectedVersion)
	if wrong, ok := errors.AsType[*backend.WrongExpectedVersionError](err); !ok || wrong.Detail == "" {
		t.Fatalf("the error %q has no Detail", err)
	}
}

// wantVersions checks that got are the events from version first to last of one
// event stream, in order; none where first is past last.
func wantVersions(t tester, got []backend.RecordedEvent, name string, first, last uint64) {
	t.Helper()
	if want := last + 1 - first; uint64(len(got)) != want {
		t.Fatalf("got %d events of event stream %q, want %d: versions %d to %d", len(got), name, want, first, last)
	}
	for i := range got {
		want := first + uint64(i)
		if got[i].StreamVersion != want || got[i].EventNumber != want || got[i].StreamUUID != name {
			t.Fatalf("event %d is %q, version %d, number %d; want %q, version and number %d",
				i, got[i].StreamUUID, got[i].StreamVersion, got[i].EventNumber, name, want)
		}
		if i > 0 && got[i].Position < got[i-1].Position {
			t.Fatalf("version %d has position %d, the one before it %d", want, got[i].Position, got[i-1].Position)
		}
	}
}

// wantRecorded checks that got is what recording given, which have no defaults
// to fill in but ids, must lead to.
func wantRecorded(t tester, got []backend.RecordedEvent, given []backend.UnsavedEvent) {
	t.Helper()
	if len(got) != len(given) {
		t.Fatalf("got %d events, want the %d that were appended", len(got), len(given))
	}
	for i := range got {
		g, w := &got[i], &given[i]
		switch {
		case w.EventUUID != uuid.Nil && g.EventUUID != w.EventUUID:
			t.Fatalf("event %d has the id %v, want %v", i, g.EventUUID, w.EventUUID)
		case g.EventType != w.EventType:
			t.Fatalf("event %d has the type %.200q, want %.200q", i, g.EventType, w.EventType)
		case !bytes.Equal(g.Data, w.Data):
			t.Fatalf("event %d has other data: %s", i, difference(g.Data, w.Data))
		case !bytes.Equal(g.Metadata, w.Metadata):
			t.Fatalf("event %d has other metadata: %s", i, difference(g.Metadata, w.Metadata))
		case g.CausationID != w.CausationID:
			t.Fatalf("event %d has the causation id %v, want %v", i, g.CausationID, w.CausationID)
		case w.CorrelationID != uuid.Nil && g.CorrelationID != w.CorrelationID:
			t.Fatalf("event %d has the correlation id %v, want %v", i, g.CorrelationID, w.CorrelationID)
		case !w.CreatedAt.IsZero() && !g.CreatedAt.Equal(w.CreatedAt):
			t.Fatalf("event %d was created at %v, want %v", i, g.CreatedAt, w.CreatedAt)
		case g.CreatedAt.Location() != time.UTC || g.RecordedAt.Location() != time.UTC:
			t.Fatalf("event %d was created at %v and recorded at %v, want UTC", i, g.CreatedAt, g.RecordedAt)
		}
	}
}

// wantSameEvents checks that two reads returned the same, field by field.
func wantSameEvents(t tester, want, got []backend.RecordedEvent) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("got %d events, want %d", len(got), len(want))
	}
	for i := range got {
		g, w := got[i], want[i]
		if !bytes.Equal(g.Data, w.Data) || !bytes.Equal(g.Metadata, w.Metadata) {
			t.Fatalf("event %d (%q, version %d): data: %s; metadata: %s", i, g.StreamUUID, g.StreamVersion,
				difference(g.Data, w.Data), difference(g.Metadata, w.Metadata))
		}
		if !g.CreatedAt.Equal(w.CreatedAt) || !g.RecordedAt.Equal(w.RecordedAt) {
			t.Fatalf("event %d (%q, version %d) was created at %v and recorded at %v, want %v and %v", i,
				g.StreamUUID, g.StreamVersion, g.CreatedAt, g.RecordedAt, w.CreatedAt, w.RecordedAt)
		}
		if g.EventNumber != w.EventNumber || g.EventUUID != w.EventUUID || g.StreamUUID != w.StreamUUID ||
			g.StreamVersion != w.StreamVersion || g.Position != w.Position || g.CausationID != w.CausationID ||
			g.CorrelationID != w.CorrelationID || g.EventType != w.EventType {
			t.Fatalf("event %d is\n%+.200v, want\n%+.200v", i, g, w)
		}
	}
}

func wantSameInfo(t tester, want, got backend.Stream) {
	t.Helper()
	same := want.ID == got.ID && want.UUID == got.UUID && want.Version == got.Version && want.CreatedAt.Equal(got.CreatedAt) &&
		(want.DeletedAt == nil) == (got.DeletedAt == nil) && (want.DeletedAt == nil || want.DeletedAt.Equal(*got.DeletedAt))
	if !same {
		t.Fatalf("the event stream is %+v, want %+v", got, want)
	}
}

// wantNow checks that at is in UTC and between from and now, give or take what
// clocks of several machines differ.
func wantNow(t tester, what string, at, from time.Time, slack time.Duration) {
	t.Helper()
	if at.Location() != time.UTC {
		t.Fatalf("%s is %v, want it in UTC", what, at)
	}
	if at.Before(from.Round(0).Add(-slack)) || at.After(time.Now().Round(0).Add(slack)) {
		t.Fatalf("%s is %v, want it between %v and now", what, at, from)
	}
}

// difference says where two texts differ, in few words: they may be long.
func difference(got, want []byte) string {
	if bytes.Equal(got, want) {
		return "the same"
	}
	i := 0
	for i < min(len(got), len(want)) && got[i] == want[i] {
		i++
	}
	return fmt.Sprintf("got %d bytes, want %d, from byte %d on %q, want %q", len(got), len(want), i,
		got[i:min(len(got), i+20)], want[i:min(len(want), i+20)])
}
