package faulttest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/tributary-es/tributary/backend"
)

// workRegister reads the version of a register that all parties write to, and
// appends to it where it still has that version.
func (l *Load) workRegister(ctx context.Context, p *party, r *rand.Rand) error {
	stream, within := l.register(r.IntN(registers)), deadline(r)
	version, err := p.look(ctx, within, stream)
	if err != nil {
		return nil // written down
	}
	_, err = p.append(context.WithoutCancel(ctx), within, stream, backend.ExactVersion(version), Events(1+r.IntN(3)))
	return wantRefusal(err, backend.ErrWrongExpectedVersion)
}

// workCounter appends to a counter, whatever its version. Now and then it doesn't
// wait for long.
func (l *Load) workCounter(ctx context.Context, p *party, r *rand.Rand) error {
	within := deadline(r)
	if r.IntN(10) == 0 {
		within = time.Duration(r.Int64N(int64(20 * time.Millisecond)))
	}
	_, err := p.append(context.WithoutCancel(ctx), within, l.counter(r.IntN(counters)), backend.AnyVersion(), Events(1+r.IntN(2)))
	return wantRefusal(err)
}

// workSet adds an element to a set, and repeats that until it is certain: any
// version is expected. The process's own set has no other writer; to the shared
// one others append meanwhile.
func (l *Load) workSet(ctx context.Context, p *party, r *rand.Rand) error {
	element := Events(1)
	add := func(p *party, set string) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := p.append(ctx, time.Hour, set, backend.AnyVersion(), element)
			return err
		}
	}
	if r.IntN(4) == 0 {
		return wantRefusal(insist(ctx, deadline(r), add(p, l.set(p.number))))
	}
	set, id := l.sharedSet(), element[0].EventUUID
	if !l.window.enter(ctx, id) {
		return nil
	}
	defer l.window.leave(id)
	if err := insist(ctx, deadline(r), add(p, set)); err != nil || r.IntN(2) == 0 {
		return wantRefusal(err)
	}
	// As if it were not known, another process repeats it, behind what came since.
	l.window.await(ctx, id, r.IntN(widest+1))
	return wantRefusal(insist(ctx, deadline(r), add(l.parties[r.IntN(len(l.parties))], set)))
}

// window keeps what is appended while an append is uncertain within the latest
// commits of the event stream, among which it is recognised when it is repeated.
type window struct {
	waiting sync.Mutex

	mu   sync.Mutex
	open map[uuid.UUID]int // by uncertain append: how many others may have come since it began
}

// widest is how many may come: it and they are the latest 15.
const widest = 14

// enter waits until an append may begin, and reports whether it may.
func (w *window) enter(ctx context.Context, id uuid.UUID) bool {
	for !w.tryEnter(id) {
		select {
		case <-ctx.Done():
			return false
		case <-time.After(pollInterval):
		}
	}
	return true
}

func (w *window) tryEnter(id uuid.UUID) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, others := range w.open {
		if others == widest {
			return false
		}
	}
	for other := range w.open {
		w.open[other]++
	}
	if w.open == nil {
		w.open = make(map[uuid.UUID]int)
	}
	w.open[id] = len(w.open)
	return true
}

// await waits until so many others may have come since an append began, but not
// for long. One waits at a time: the others are to come.
func (w *window) await(ctx context.Context, id uuid.UUID, others int) {
	if !w.waiting.TryLock() {
		return
	}
	defer w.waiting.Unlock()
	over := time.Now().Add(time.Second)
	for ctx.Err() == nil && time.Now().Before(over) {
		w.mu.Lock()
		now := w.open[id]
		w.mu.Unlock()
		if now >= others {
			return
		}
		time.Sleep(pollInterval / 10)
	}
}

func (w *window) leave(id uuid.UUID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.open, id)
}

// workRead reads.
func (l *Load) workRead(ctx context.Context, p *party, r *rand.Rand) error {
	stream := l.watched(r.IntN(6))
	switch r.IntN(16) {
	case 0:
		_ = p.readAll(ctx, deadline(r), l.name, l.after, l.known(p))
	case 1:
		_ = p.readAll(ctx, deadline(r), l.name, l.after+uint64(r.Int64N(1+2*l.Ledger.Acknowledged())), nil)
	case 2, 3:
		_ = p.read(ctx, deadline(r), stream, true)
	case 4, 5, 6, 7, 8:
		_ = p.read(ctx, deadline(r), stream, false)
	default:
		_, _ = p.look(ctx, deadline(r), stream)
	}
	return nil
}

// wantRefusal returns nil where err is what may become of an append under faults:
// no error, one that says that the store was away, or one of those named.
func wantRefusal(err error, also ...error) error {
	for _, allowed := range append(also, backend.ErrOutcomeUnknown, backend.ErrUnavailable, context.DeadlineExceeded, context.Canceled) {
		if errors.Is(err, allowed) {
			return nil
		}
	}
	if err != nil {
		return fmt.Errorf("an append: %w", err)
	}
	return nil
}

// bank is accounts, between which money is transferred.
type bank struct {
	mu   sync.Mutex
	done int // transfers
}

// workBank transfers from one account to another: two appends, each of which is
// repeated until it is certain, so that no money is lost or made.
func (l *Load) workBank(ctx context.Context, p *party, r *rand.Rand) error {
	from := r.IntN(accounts)
	to := (from + 1 + r.IntN(accounts-1)) % accounts
	amount := 1 + r.IntN(100)
	taken, given := Events(1), Events(1)
	taken[0].EventType, taken[0].Data = "Withdrawn", strconv.AppendInt(nil, int64(-amount), 10)
	given[0].EventType, given[0].Data = "Deposited", strconv.AppendInt(nil, int64(amount), 10)
	if booked, err := l.book(ctx, p, l.account(from), taken); err != nil || !booked {
		return err
	}
	// From here on it must be done, whatever it takes.
	for {
		booked, err := l.book(context.WithoutCancel(ctx), p, l.account(to), given)
		if err != nil {
			return err
		}
		if booked {
			break
		}
	}
	l.bank.mu.Lock()
	defer l.bank.mu.Unlock()
	l.bank.done++
	return nil
}

// book appends to an account at whatever version it has, and reports whether that
// is done: an exact version makes it certain, however late it is repeated.
func (l *Load) book(ctx context.Context, p *party, account string, events []backend.UnsavedEvent) (bool, error) {
	began := time.Now()
	for {
		version, err := p.look(context.WithoutCancel(ctx), 2*time.Second, account)
		if err == nil {
			err = insist(ctx, 2*time.Second, func(ctx context.Context) error {
				_, err := p.append(ctx, time.Hour, account, backend.ExactVersion(version), events)
				return err
			})
		}
		switch {
		case err == nil:
			return true, nil
		case errors.Is(err, backend.ErrWrongExpectedVersion):
		case errors.Is(err, backend.ErrUnavailable), errors.Is(err, context.DeadlineExceeded):
			if ctx.Err() != nil {
				return false, nil
			}
		default:
			return false, fmt.Errorf("booking to %s: %w", account, err)
		}
		if time.Since(began) > 3*patience {
			return false, fmt.Errorf("booking to %s: not within %v: %w", account, 3*patience, err)
		}
	}
}
