package backend_test

import (
	"errors"
	"testing"
	"time"

	"github.com/tributary-es/tributary/backend"
)

func TestExpectedVersionVerify(t *testing.T) {
	deletedAt := time.Now()
	situations := []struct {
		name    string
		current *backend.Stream
	}{
		{"missing", nil},
		{"no events", &backend.Stream{ID: 1}},
		{"events", &backend.Stream{ID: 1, Version: 3}},
		{"soft-deleted", &backend.Stream{ID: 1, Version: 3, DeletedAt: &deletedAt}},
		{"soft-deleted, no events", &backend.Stream{ID: 1, DeletedAt: &deletedAt}},
	}
	const name = "account-42"
	wrong, exists, missing, deleted := backend.ErrWrongExpectedVersion, backend.ErrStreamExists, backend.ErrStreamNotFound, backend.ErrStreamDeleted
	for _, row := range []struct {
		expected backend.ExpectedVersion
		want     []error // in the order of situations
	}{
		{backend.ExpectedVersion{}, []error{nil, nil, nil, deleted, deleted}},
		{backend.AnyVersion(), []error{nil, nil, nil, deleted, deleted}},
		{backend.NoStream(), []error{nil, nil, exists, deleted, deleted}},
		{backend.StreamExists(), []error{missing, nil, nil, deleted, deleted}},
		{backend.ExactVersion(0), []error{nil, nil, wrong, deleted, deleted}},
		{backend.ExactVersion(2), []error{wrong, wrong, wrong, deleted, deleted}},
		{backend.ExactVersion(3), []error{wrong, wrong, nil, deleted, deleted}},
		{backend.ExactVersion(4), []error{wrong, wrong, wrong, deleted, deleted}},
	} {
		for i, situation := range situations {
			err := row.expected.Verify(name, situation.current)
			if !errors.Is(err, row.want[i]) {
				t.Errorf("%v, %s: got %v, want %v", row.expected, situation.name, err, row.want[i])
			}
			if row.want[i] != wrong {
				continue
			}
			var actual uint64
			if situation.current != nil {
				actual = situation.current.Version
			}
			want := backend.WrongExpectedVersionError{StreamUUID: name, Expected: row.expected, Actual: actual}
			if got, ok := errors.AsType[*backend.WrongExpectedVersionError](err); !ok || *got != want {
				t.Errorf("%v, %s: got %+v, want %+v", row.expected, situation.name, got, want)
			}
		}
	}
}

func TestExpectedVersionExact(t *testing.T) {
	for _, row := range []struct {
		expected backend.ExpectedVersion
		version  uint64
		ok       bool
		text     string
	}{
		{backend.ExpectedVersion{}, 0, false, "any version"},
		{backend.AnyVersion(), 0, false, "any version"},
		{backend.NoStream(), 0, true, "no stream"},
		{backend.StreamExists(), 0, false, "stream exists"},
		{backend.ExactVersion(0), 0, true, "version 0"},
		{backend.ExactVersion(1<<64 - 1), 1<<64 - 1, true, "version 18446744073709551615"},
	} {
		if version, ok := row.expected.Exact(); version != row.version || ok != row.ok {
			t.Errorf("%v: Exact returned %d, %t", row.expected, version, ok)
		}
		if text := row.expected.String(); text != row.text {
			t.Errorf("String returned %q, want %q", text, row.text)
		}
	}
	if (backend.ExpectedVersion{}) != backend.AnyVersion() {
		t.Error("the zero value is not AnyVersion")
	}
	if backend.NoStream() == backend.ExactVersion(0) {
		t.Error("NoStream is ExactVersion(0)")
	}
}
