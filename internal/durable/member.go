package durable

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/tributary-es/tributary/backend"
)

var (
	errNoHandler = fmt.Errorf("%w: no handler", backend.ErrInvalidArgument)

	// errExpelled: the others took this member for dead.
	errExpelled = errors.New("other members took over")

	// errSilent: the document couldn't be written for so long that the others may
	// soon take this member for dead.
	errSilent = fmt.Errorf("%w: it could not be told that this member is alive", backend.ErrUnavailable)

	// errReset: the subscription goes on elsewhere.
	errReset = errors.New("the subscription was reset")

	// errDeleted: the document is gone.
	errDeleted = errors.New("the subscription was deleted")
)

// leaveTimeout bounds what a member tells the store when it leaves.
const leaveTimeout = 5 * time.Second

// processName tells processes apart for those who look at the members.
func processName() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return host + ":" + strconv.Itoa(os.Getpid())
}

// member is one Consume.
type member struct {
	s          *Subscriptions
	name       string
	options    backend.ConsumeOptions
	handler    backend.Handler
	partitions *sharedSet // those that it has; the reader looks at them
}

// run is a member until ctx ends: for one term after another, each from joining
// to leaving.
func (m *member) run(ctx context.Context) error {
	for tries := 0; ; tries++ {
		t, err := m.join(ctx)
		if err == nil {
			tries = 0
			err = t.run(ctx)
		}
		switch {
		case ctx.Err() != nil:
			return fmt.Errorf("consuming %q: %w", m.name, ctx.Err())
		case errors.Is(err, errDeleted):
			return fmt.Errorf("%w: %q was deleted while it was consumed", backend.ErrSubscriptionNotFound, m.name)
		case t != nil && !m.s.store.Final(err) && (errors.Is(err, errExpelled) || errors.Is(err, errSilent) || errors.Is(err, errReset)):
		case t == nil && tries > 0 && !m.s.store.Final(err) && errors.Is(err, backend.ErrUnavailable):
		default:
			return fmt.Errorf("consuming %q: %w", m.name, err)
		}
		m.s.log.DebugContext(ctx, "joining again", "subscription", m.name, "error", err)
		if !pause(ctx, tries) {
			return fmt.Errorf("consuming %q: %w", m.name, ctx.Err())
		}
	}
}

// join makes this member one of the subscription, which it creates where it is
// missing.
func (m *member) join(ctx context.Context) (*term, error) {
	id := uuid.NewString()
	want := sharedOf(m.options)
	position, isPosition := m.options.From.Position()
	now := time.Now()
	d, _, err := m.s.update(ctx, m.name, func(d *document) (*document, error) {
		if d == nil {
			if !isPosition {
				end, err := m.s.store.End(ctx)
				if err != nil {
					return nil, err
				}
				position, isPosition = end, true
			}
			d = newDocument(want, position)
		}
		if err := conflict(m.name, d.Options, want); err != nil {
			return nil, err
		}
		now = time.Now()
		d.add(id, m.options.Member, now.UTC())
		return d, nil
	})
	if err != nil {
		return nil, err
	}
	m.s.log.DebugContext(ctx, "joined", "subscription", m.name, "member", id)
	return newTerm(m, id, now, d), nil
}

// sharedSet is a set of partitions that one goroutine changes and others look at.
type sharedSet struct {
	in []atomic.Bool
}

func newSharedSet(n int) *sharedSet { return &sharedSet{in: make([]atomic.Bool, n)} }

// has reports whether the partition of an event stream is in the set.
func (s *sharedSet) has(streamUUID string) bool {
	return s.in[partitionOf(streamUUID, len(s.in))].Load()
}

func (s *sharedSet) set(i int, in bool) { s.in[i].Store(in) }

// pause waits before a repetition, the longer the more there were, and reports
// whether ctx is still going on.
func pause(ctx context.Context, tries int) bool {
	timer := time.NewTimer(min(time.Millisecond<<min(tries, 8), 250*time.Millisecond))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
