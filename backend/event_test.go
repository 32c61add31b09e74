package backend_test

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/tributary-es/tributary/backend"
)

func TestPrepareFillsInDefaults(t *testing.T) {
	own, call, cause := uuid.New(), uuid.New(), uuid.New()
	east := time.FixedZone("east", 2*3600)
	given := []backend.UnsavedEvent{
		{EventType: "Opened"},
		{EventType: "Paid", CausationID: cause, CorrelationID: own, StreamUUID: "account-42",
			Data: []byte("data"), Metadata: []byte("metadata"), CreatedAt: time.Date(2024, 5, 6, 7, 8, 9, 10, east)},
		{EventType: "Closed", CreatedAt: time.Now()},
	}
	before := slices.Clone(given)
	start := time.Now()
	got, expected, err := backend.Prepare("account-42", given, call)
	if err != nil || expected != backend.AnyVersion() {
		t.Fatalf("Prepare returned %v, %v", expected, err)
	}
	if !reflect.DeepEqual(given, before) {
		t.Errorf("Prepare made %+v of %+v", given, before)
	}
	if got[0].EventUUID.Version() != 7 || got[0].CorrelationID != call || got[0].CausationID != uuid.Nil {
		t.Errorf("the first event is %+v", got[0])
	}
	if at := got[0].CreatedAt; at.Location() != time.UTC || at.Before(start.Round(0)) || at.After(time.Now()) {
		t.Errorf("the first event was created at %v", at)
	}
	want := given[1]
	want.EventUUID = got[1].EventUUID // which is new
	want.CreatedAt = time.Date(2024, 5, 6, 5, 8, 9, 10, time.UTC)
	if !reflect.DeepEqual(got[1], want) {
		t.Errorf("the second event is %+v, want %+v", got[1], want)
	}
	if at := got[2].CreatedAt; at != given[2].CreatedAt.UTC().Round(0) {
		t.Errorf("the third event was created at %v, with a monotonic reading or elsewhere", at)
	}
	if got[0].EventUUID == got[2].EventUUID {
		t.Error("two events got one id")
	}
}

func TestPrepareKeepsIDsAndWantsThemOfAllOrNone(t *testing.T) {
	a, b := backend.UnsavedEvent{EventType: "A", EventUUID: uuid.New()}, backend.UnsavedEvent{EventType: "B", EventUUID: uuid.New()}
	got, _, err := backend.Prepare("x", []backend.UnsavedEvent{a, b}, uuid.Nil)
	if err != nil || got[0].EventUUID != a.EventUUID || got[1].EventUUID != b.EventUUID {
		t.Errorf("%+v, %v", got, err)
	}
	b.EventUUID = uuid.Nil
	for _, mixed := range [][]backend.UnsavedEvent{{a, b}, {b, a}} {
		if _, _, err := backend.Prepare("x", mixed, uuid.Nil); !errors.Is(err, backend.ErrInvalidEvent) {
			t.Errorf("error %v, want ErrInvalidEvent", err)
		}
	}
}

func TestPrepareOfNoEvents(t *testing.T) {
	for _, none := range [][]backend.UnsavedEvent{nil, {}} {
		got, expected, err := backend.Prepare("account-42", none, uuid.New())
		if len(got) != 0 || expected != backend.AnyVersion() || err != nil {
			t.Errorf("Prepare returned %v, %v, %v", got, expected, err)
		}
	}
}

func TestPrepareReturnsTheVersionThatEventsExpect(t *testing.T) {
	for _, row := range []struct {
		versions []uint64
		want     backend.ExpectedVersion
	}{
		{[]uint64{0}, backend.AnyVersion()},
		{[]uint64{0, 0, 0}, backend.AnyVersion()},
		{[]uint64{1}, backend.ExactVersion(0)},
		{[]uint64{1, 2, 3}, backend.ExactVersion(0)},
		{[]uint64{8, 9}, backend.ExactVersion(7)},
		{[]uint64{1<<64 - 1}, backend.ExactVersion(1<<64 - 2)},
	} {
		_, got, err := backend.Prepare("account-42", ofVersions(row.versions...), uuid.Nil)
		if got != row.want || err != nil {
			t.Errorf("versions %d: got %v, %v, want %v", row.versions, got, err, row.want)
		}
	}
}

func TestPrepareRefuses(t *testing.T) {
	ok := backend.UnsavedEvent{EventType: "Opened"}
	with := func(change func(*backend.UnsavedEvent)) backend.UnsavedEvent {
		e := ok
		change(&e)
		return e
	}
	for _, row := range []struct {
		name  string
		event backend.UnsavedEvent
		want  error
	}{
		{"no type", backend.UnsavedEvent{}, backend.ErrInvalidEvent},
		{"another stream", with(func(e *backend.UnsavedEvent) { e.StreamUUID = "account-43" }), backend.ErrInvalidEvent},
		{"a year before 1", with(func(e *backend.UnsavedEvent) { e.CreatedAt = time.Date(0, 12, 31, 23, 0, 0, 0, time.UTC) }), backend.ErrInvalidEvent},
		{"a year after 9999", with(func(e *backend.UnsavedEvent) { e.CreatedAt = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) }), backend.ErrInvalidEvent},
		{"a year after 9999 in UTC", with(func(e *backend.UnsavedEvent) {
			e.CreatedAt = time.Date(9999, 12, 31, 23, 0, 0, 0, time.FixedZone("west", -2*3600))
		}), backend.ErrInvalidEvent},
		{"a type too long", with(func(e *backend.UnsavedEvent) { e.EventType = strings.Repeat("x", backend.MaxEventTypeBytes+1) }), backend.ErrEventTooLarge},
		{"too much metadata", with(func(e *backend.UnsavedEvent) { e.Metadata = make([]byte, backend.MaxMetadataBytes+1) }), backend.ErrEventTooLarge},
	} {
		for i, events := range [][]backend.UnsavedEvent{{row.event}, {ok, row.event}, {ok, ok, row.event, ok}} {
			got, _, err := backend.Prepare("account-42", events, uuid.Nil)
			if !errors.Is(err, row.want) || got != nil {
				t.Errorf("%s: got %v and the error %v, want %v", row.name, got, err, row.want)
			} else if prefix := []string{"event 0: ", "event 1: ", "event 2: "}[i]; !strings.HasPrefix(err.Error(), prefix) {
				t.Errorf("%s: the error %q does not begin with %q", row.name, err, prefix)
			}
		}
	}
	for _, versions := range [][]uint64{{1, 3}, {1, 1}, {2, 1}, {0, 1}, {0, 0, 2}, {1, 0}, {1, 2, 0}, {1, 2, 4}} {
		if _, _, err := backend.Prepare("account-42", ofVersions(versions...), uuid.Nil); !errors.Is(err, backend.ErrInvalidEvent) {
			t.Errorf("versions %d: got %v", versions, err)
		}
	}
}

func TestPrepareAcceptsTheLimits(t *testing.T) {
	for _, e := range []backend.UnsavedEvent{
		{EventType: strings.Repeat("x", backend.MaxEventTypeBytes), Metadata: make([]byte, backend.MaxMetadataBytes)},
		{EventType: "\x00"},
		{EventType: "Opened", CreatedAt: time.Date(1, 1, 1, 0, 0, 0, 1, time.UTC)},
		{EventType: "Opened", CreatedAt: time.Date(9999, 12, 31, 23, 59, 59, 999999999, time.UTC)},
	} {
		if _, _, err := backend.Prepare("account-42", []backend.UnsavedEvent{e}, uuid.Nil); err != nil {
			t.Error(err)
		}
	}
}

func TestAgree(t *testing.T) {
	for _, row := range []struct {
		expected, given backend.ExpectedVersion
		ok              bool
	}{
		{backend.AnyVersion(), backend.AnyVersion(), true},
		{backend.NoStream(), backend.AnyVersion(), true},
		{backend.StreamExists(), backend.AnyVersion(), true},
		{backend.ExactVersion(5), backend.AnyVersion(), true},
		{backend.NoStream(), backend.ExactVersion(0), true},
		{backend.ExactVersion(0), backend.ExactVersion(0), true},
		{backend.ExactVersion(5), backend.ExactVersion(5), true},
		{backend.ExactVersion(4), backend.ExactVersion(5), false},
		{backend.NoStream(), backend.ExactVersion(5), false},
		{backend.AnyVersion(), backend.ExactVersion(0), false},
		{backend.StreamExists(), backend.ExactVersion(5), false},
	} {
		err := backend.Agree(row.expected, row.given)
		if row.ok != (err == nil) || err != nil && !errors.Is(err, backend.ErrInvalidEvent) {
			t.Errorf("expected %v, given %v: got %v", row.expected, row.given, err)
		}
	}
}

func ofVersions(versions ...uint64) []backend.UnsavedEvent {
	events := make([]backend.UnsavedEvent, len(versions))
	for i, version := range versions {
		events[i] = backend.UnsavedEvent{EventType: "Opened", StreamVersion: version}
	}
	return events
}
