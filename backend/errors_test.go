package backend_test

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/tributary-es/tributary"
	"github.com/tributary-es/tributary/backend"
)

func TestErrorsUnwrap(t *testing.T) {
	wrong := &backend.WrongExpectedVersionError{StreamUUID: "account-42", Expected: backend.ExactVersion(3), Actual: 5}
	corrupted := &backend.CorruptedError{StreamUUID: "account-42", FirstVersion: 3, LastVersion: 4, Position: 77, Reason: "no such header", Err: io.ErrUnexpectedEOF}
	for _, row := range []struct {
		err, target error
	}{
		{wrong, backend.ErrWrongExpectedVersion},
		{corrupted, backend.ErrCorrupted},
		{corrupted, io.ErrUnexpectedEOF},
		{&backend.CorruptedError{}, backend.ErrCorrupted},
		{backend.ErrUnsupported, errors.ErrUnsupported},
		{backend.ErrInvalidStreamUUID, tributary.ErrInvalidStreamUUID},
	} {
		if !errors.Is(row.err, row.target) {
			t.Errorf("%v is not %v", row.err, row.target)
		}
	}
	if errors.Is(wrong, backend.ErrCorrupted) || errors.Is(&backend.CorruptedError{}, io.ErrUnexpectedEOF) {
		t.Error("an error unwraps to what it is not")
	}
}

func TestErrorTexts(t *testing.T) {
	for _, row := range []struct {
		err  error
		want string
	}{
		{
			&backend.WrongExpectedVersionError{StreamUUID: "account-42", Expected: backend.ExactVersion(3), Actual: 5},
			`wrong expected version: event stream "account-42" is at version 5, expected version 3`,
		},
		{
			&backend.WrongExpectedVersionError{StreamUUID: "a\nb", Expected: backend.NoStream(), Actual: 5, Detail: "more"},
			`wrong expected version: event stream "a\nb" is at version 5, expected no stream: more`,
		},
		{
			&backend.CorruptedError{StreamUUID: "account-42", FirstVersion: 3, LastVersion: 4, Position: 77, Reason: "no such header", Err: io.EOF},
			`event store corrupted: event stream "account-42": versions 3 to 4: position 77: no such header: EOF`,
		},
		{
			&backend.CorruptedError{Position: 77, Reason: "no such header"},
			`event store corrupted: position 77: no such header`,
		},
	} {
		if got := row.err.Error(); got != row.want {
			t.Errorf("got  %s\nwant %s", got, row.want)
		}
	}
}

func TestNoErrorTextHasAPayload(t *testing.T) {
	secret := strings.Repeat("secret", 10_000)
	for _, e := range []backend.UnsavedEvent{
		{EventType: secret},
		{EventType: "Opened", Metadata: []byte(secret)},
		{Data: []byte(secret)},
	} {
		_, _, err := backend.Prepare("account-42", []backend.UnsavedEvent{e}, [16]byte{})
		if err == nil || strings.Contains(err.Error(), "secret") || len(err.Error()) > 500 {
			t.Errorf("got the error %.200v", err)
		}
	}
}
