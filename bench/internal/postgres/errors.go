package postgres

import "errors"

var (
	// ErrMissing comes where PostgreSQL's programs are not installed.
	ErrMissing = errors.New("PostgreSQL is not installed")

	// ErrConflict comes for an append that expects another version than the event
	// stream has. Nothing is stored.
	ErrConflict = errors.New("wrong expected version")
)
