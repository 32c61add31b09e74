package backend

import "time"

// Stream describes an event stream.
type Stream struct {
	// ID identifies this life of the event stream's name: a stream that is
	// deleted and created again has another ID. 0: not stored.
	ID uint64

	// UUID is the event stream's name, such as "account-42" or a UUID. What can
	// be a name is told by tributary.CheckStreamUUID.
	UUID string

	// Version counts the events ever appended, from 1; 0: none yet. Truncating
	// does not lower it.
	Version uint64

	// CreatedAt is when the event stream began, in UTC, by the creating
	// process's clock.
	CreatedAt time.Time

	// DeletedAt is when the event stream was soft-deleted, in UTC; nil: it is
	// not.
	DeletedAt *time.Time
}

// Persisted reports whether s describes an event stream that is stored.
func (s Stream) Persisted() bool { return s.ID != 0 }
