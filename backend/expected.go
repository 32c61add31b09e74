package backend

import (
	"fmt"
	"strconv"
)

// ExpectedVersion is what a caller expects of an event stream when it appends.
// The zero value is [AnyVersion].
type ExpectedVersion struct {
	kind    expectation
	version uint64
}

type expectation uint8

const (
	expectAny expectation = iota
	expectNoStream
	expectExists
	expectExact
)

// AnyVersion expects nothing: the event stream is created where it is missing.
func AnyVersion() ExpectedVersion { return ExpectedVersion{kind: expectAny} }

// NoStream expects an event stream that is missing or has no events.
func NoStream() ExpectedVersion { return ExpectedVersion{kind: expectNoStream} }

// StreamExists expects an event stream that exists, at any version.
func StreamExists() ExpectedVersion { return ExpectedVersion{kind: expectExists} }

// ExactVersion expects an event stream at version. ExactVersion(0) expects one
// without events, which is created where it is missing.
func ExactVersion(version uint64) ExpectedVersion {
	return ExpectedVersion{kind: expectExact, version: version}
}

// Exact returns the version that e names, and whether it names one: that of
// [ExactVersion], and 0 for [NoStream].
func (e ExpectedVersion) Exact() (version uint64, ok bool) {
	return e.version, e.kind == expectExact || e.kind == expectNoStream
}

// Verify checks e against an event stream as it is; nil stands for one that
// does not exist. A nil error means that an append may go on, and creates the
// event stream where it is missing.
//
//	                missing             no events    events             soft-deleted
//	AnyVersion      create              append       append             ErrStreamDeleted
//	NoStream        create              append       ErrStreamExists    ErrStreamDeleted
//	StreamExists    ErrStreamNotFound   append       append             ErrStreamDeleted
//	ExactVersion(0) create              append       wrong version      ErrStreamDeleted
//	ExactVersion(n) wrong version       (append at version n, else wrong version)
//
// A wrong version is a [*WrongExpectedVersionError].
func (e ExpectedVersion) Verify(streamUUID string, current *Stream) error {
	if current == nil {
		switch {
		case e.kind == expectExists:
			return fmt.Errorf("%w: %q", ErrStreamNotFound, streamUUID)
		case e.kind == expectExact && e.version != 0:
			return &WrongExpectedVersionError{StreamUUID: streamUUID, Expected: e}
		}
		return nil
	}
	switch {
	case current.DeletedAt != nil:
		return fmt.Errorf("%w: %q", ErrStreamDeleted, streamUUID)
	case e.kind == expectNoStream && current.Version != 0:
		return fmt.Errorf("%w: %q, at version %d", ErrStreamExists, streamUUID, current.Version)
	case e.kind == expectExact && e.version != current.Version:
		return &WrongExpectedVersionError{StreamUUID: streamUUID, Expected: e, Actual: current.Version}
	}
	return nil
}

// String returns "any version", "no stream", "stream exists" or "version n".
func (e ExpectedVersion) String() string {
	switch e.kind {
	case expectNoStream:
		return "no stream"
	case expectExists:
		return "stream exists"
	case expectExact:
		return "version " + strconv.FormatUint(e.version, 10)
	}
	return "any version"
}
