package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Event is an event, to append or as it is stored.
type Event struct {
	Position      int64     // orders all events, from 1, with gaps; given by the store
	Stream        string    // the event stream; given by the store
	Version       int64     // the event's place in its event stream, from 1; given by the store
	ID            uuid.UUID // identifies the event; uuid.Nil: a new UUIDv7
	Type          string    // names what happened
	Data          []byte    // the event itself
	Metadata      []byte    // nil: none
	CausationID   uuid.UUID // uuid.Nil: none
	CorrelationID uuid.UUID // uuid.Nil: none
	Created       time.Time // stored in microseconds; zero: now
}

const schema = `
CREATE TABLE IF NOT EXISTS events (
	position       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	stream         text COLLATE "C" NOT NULL,
	version        bigint NOT NULL,
	id             uuid NOT NULL,
	type           text NOT NULL,
	data           bytea NOT NULL,
	metadata       bytea,
	causation_id   uuid,
	correlation_id uuid,
	created        timestamptz NOT NULL,
	UNIQUE (stream, version)
);`

// The statements. pgx prepares each the first time that a connection is used for
// it.
const (
	insert = `INSERT INTO events (stream, version, id, type, data, metadata, causation_id, correlation_id, created) `

	// For a single event this takes a tenth less time than unnesting arrays of
	// one.
	appendOne = insert + `VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`

	appendMany = insert + `
		SELECT $1, $2::bigint + n, id, type, data, metadata, causation_id, correlation_id, created
		FROM unnest($3::uuid[], $4::text[], $5::bytea[], $6::bytea[], $7::uuid[], $8::uuid[], $9::timestamptz[])
			WITH ORDINALITY AS e (id, type, data, metadata, causation_id, correlation_id, created, n)
		ORDER BY n`

	columns = `position, version, id, type, data, metadata, causation_id, correlation_id, created`

	loadStream = `SELECT ` + columns + ` FROM events WHERE stream = $1 AND version >= $2 ORDER BY version LIMIT $3`
)

// Store is the table of events. Its methods may be called concurrently.
type Store struct{ pool *pgxpool.Pool }

// prepare makes the table. The lock is for those who make them at the same time,
// whom IF NOT EXISTS alone lets fail.
func (s *Store) prepare(ctx context.Context) error {
	return pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(1)`); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, schema)
		return err
	})
}

// Append appends events, all or none, and returns the version of the last. It
// returns [ErrConflict] where the event stream is no longer at the expected
// version.
//
// The unique key is what finds that out, so that an expected version that the
// event stream never had leaves a gap. That is the caller's to avoid, as in any
// such table; looking would cost another 20 us.
func (s *Store) Append(ctx context.Context, stream string, expected int64, events []Event) (version int64, err error) {
	if expected < 0 {
		return 0, fmt.Errorf("expected version %d", expected)
	}
	if len(events) == 0 {
		return 0, errors.New("no events to append")
	}
	rows, err := newRows(events)
	if err != nil {
		return 0, err
	}
	version = expected + int64(len(events))
	if len(events) == 1 {
		_, err = s.pool.Exec(ctx, appendOne, stream, version, rows.id[0], rows.kind[0], rows.data[0],
			rows.metadata[0], rows.causation[0], rows.correlation[0], rows.created[0])
	} else {
		_, err = s.pool.Exec(ctx, appendMany, rows.arguments(stream, expected)...)
	}
	if isTaken(err) {
		return 0, fmt.Errorf("%w: %s is past version %d", ErrConflict, stream, expected)
	}
	if err != nil {
		return 0, err
	}
	return version, nil
}

// isTaken reports whether err is that of a version that is there already.
func isTaken(err error) bool {
	const uniqueViolation = "23505"
	e, ok := errors.AsType[*pgconn.PgError](err)
	return ok && e.Code == uniqueViolation
}

// rows are events by their columns.
type rows struct {
	id, causation, correlation []pgtype.UUID
	kind                       []string
	data, metadata             [][]byte
	created                    []time.Time
}

func newRows(events []Event) (rows, error) {
	n := len(events)
	ids := make([]pgtype.UUID, 3*n)
	bytes := make([][]byte, 2*n)
	r := rows{
		id: ids[:n:n], causation: ids[n : 2*n : 2*n], correlation: ids[2*n:],
		kind: make([]string, n), data: bytes[:n:n], metadata: bytes[n:],
		created: make([]time.Time, n),
	}
	now := time.Now()
	for i := range events {
		e := &events[i]
		id := e.ID
		if id == uuid.Nil {
			var err error
			if id, err = uuid.NewV7(); err != nil {
				return rows{}, err
			}
		}
		r.id[i] = pgtype.UUID{Bytes: id, Valid: true}
		r.causation[i] = pgtype.UUID{Bytes: e.CausationID, Valid: e.CausationID != uuid.Nil}
		r.correlation[i] = pgtype.UUID{Bytes: e.CorrelationID, Valid: e.CorrelationID != uuid.Nil}
		r.kind[i], r.metadata[i], r.created[i] = e.Type, e.Metadata, e.Created
		if r.data[i] = e.Data; e.Data == nil {
			r.data[i] = []byte{} // nil would be NULL
		}
		if e.Created.IsZero() {
			r.created[i] = now
		}
	}
	return r, nil
}

// arguments are those of a statement that unnests them.
func (r rows) arguments(stream string, number int64) []any {
	return []any{stream, number, r.id, r.kind, r.data, r.metadata, r.causation, r.correlation, r.created}
}

// Load returns at most limit events of an event stream in order, from version on
// (inclusive, from 1); none where there are none.
func (s *Store) Load(ctx context.Context, stream string, from, limit int64) ([]Event, error) {
	rows, err := s.pool.Query(ctx, loadStream, stream, from, limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var (
		e                          Event
		id, causation, correlation pgtype.UUID
	)
	into := []any{&e.Position, &e.Version, &id, &e.Type, &e.Data, &e.Metadata, &causation, &correlation, &e.Created}
	events := make([]Event, 0, min(max(limit, 0), 4096))
	for rows.Next() {
		e = Event{Stream: stream}
		if err := rows.Scan(into...); err != nil {
			return nil, err
		}
		e.ID, e.CausationID, e.CorrelationID = id.Bytes, causation.Bytes, correlation.Bytes
		e.Created = e.Created.UTC()
		events = append(events, e)
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	return events, nil
}

// Forward calls do with the events of an event stream in order, in batches of
// batch events but for the last. Each batch is a query that goes on after the last
// event's key. It ends where there are no more, or with the first error.
func (s *Store) Forward(ctx context.Context, stream string, batch int, do func([]Event) error) error {
	if batch < 1 {
		return fmt.Errorf("batch size %d", batch)
	}
	var last Event
	for {
		events, err := s.Load(ctx, stream, last.Version+1, int64(batch))
		if err != nil {
			return err
		}
		if len(events) == 0 {
			return nil
		}
		if err := do(events); err != nil {
			return err
		}
		if len(events) < batch {
			return nil
		}
		last = events[len(events)-1]
	}
}

// Settle does what the server would otherwise do in the background while
// something is measured: it vacuums and analyses the table, and writes a
// checkpoint.
func (s *Store) Settle(ctx context.Context) error {
	for _, statement := range []string{`VACUUM (ANALYZE) events`, `CHECKPOINT`} {
		if _, err := s.pool.Exec(ctx, statement); err != nil {
			return err
		}
	}
	return nil
}

// Connections returns by how many connections the server is reached.
func (s *Store) Connections() int { return int(s.pool.Config().MaxConns) }

// Close closes the store's connections.
func (s *Store) Close() { s.pool.Close() }
