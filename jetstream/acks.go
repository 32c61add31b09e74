package jetstream

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// acks has the writes that wait for the server's answer. All answers come to one
// inbox, for as long as the backend is open: nats.go's requests take a context
// with a timer each, and let nothing be done while the server works.
type acks struct {
	nc   *nats.Conn
	pool sync.Pool // of *ack

	mu       sync.Mutex
	sub      *nats.Subscription // nil: there was no write yet
	inbox    string
	last     uint64              // the last token given
	awaiting map[uint64]receiver // by token
	closed   bool
}

// receiver is told the answer to a write, at most once, in nats.go's goroutine.
type receiver interface {
	receive(answer *nats.Msg)
}

func newAcks(nc *nats.Conn) *acks {
	return &acks{nc: nc, awaiting: make(map[uint64]receiver)}
}

// send sends a message whose answer is for r. It returns the token to forget it
// with.
func (a *acks) send(m *nats.Msg, r receiver) (uint64, error) {
	token, err := a.expect(r)
	if err != nil {
		return 0, err
	}
	m.Reply = a.inbox + "." + strconv.FormatUint(token, 36)
	if err := a.nc.PublishMsg(m); err != nil {
		a.forget(token)
		return 0, err
	}
	return token, nil
}

func (a *acks) expect(r receiver) (uint64, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return 0, errClosed
	}
	if a.sub == nil {
		inbox := a.nc.NewInbox()
		sub, err := a.nc.Subscribe(inbox+".*", a.receive)
		if err != nil {
			return 0, err
		}
		a.sub, a.inbox = sub, inbox
	}
	a.last++
	a.awaiting[a.last] = r
	return a.last, nil
}

// forget reports whether nobody was told the answer, and nobody will be.
func (a *acks) forget(token uint64) bool { return a.take(token) != nil }

// take returns who the answer is for; nil: it isn't waited for any more.
func (a *acks) take(token uint64) receiver {
	a.mu.Lock()
	defer a.mu.Unlock()
	r := a.awaiting[token]
	delete(a.awaiting, token)
	a.unsubscribe()
	return r
}

func (a *acks) receive(m *nats.Msg) {
	_, text, _ := strings.Cut(m.Subject[min(len(a.inbox), len(m.Subject)):], ".")
	token, err := strconv.ParseUint(text, 36, 64)
	if err != nil {
		return
	}
	if r := a.take(token); r != nil {
		r.receive(m)
	}
}

// close ends the subscription when the last answer has come.
func (a *acks) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = true
	a.unsubscribe()
}

func (a *acks) unsubscribe() {
	if a.closed && len(a.awaiting) == 0 && a.sub != nil {
		_ = a.sub.Unsubscribe() // of a closed connection there is none
		a.sub = nil
	}
}

// ack is an answer that is waited for.
type ack struct {
	answer     chan *nats.Msg // has room for it
	timer      *time.Timer
	connection uint64 // how many there were before that by which it is to come
}

func (a *ack) receive(answer *nats.Msg) { a.answer <- answer }

// get returns an ack for a write that is now sent; put gives it back, once the
// answer has come or won't.
func (a *acks) get() *ack {
	got, ok := a.pool.Get().(*ack)
	if !ok {
		got = &ack{answer: make(chan *nats.Msg, 1), timer: time.NewTimer(time.Hour)}
	}
	got.connection = a.nc.Stats().Reconnects
	return got
}

func (a *acks) put(used *ack) {
	used.timer.Stop()
	a.pool.Put(used)
}

// checkEvery is how often an answer that doesn't come is given up because the
// connection it was to come by is gone.
const checkEvery = 50 * time.Millisecond

// wait waits for the answer to the write sent with token, for at most wait.
func (a *acks) wait(ctx context.Context, token uint64, w *ack, wait time.Duration) (*nats.Msg, error) {
	late := error(nats.ErrTimeout)
	if deadline, ok := ctx.Deadline(); ok {
		if rest := time.Until(deadline); rest < wait {
			wait, late = rest, context.DeadlineExceeded
		}
	}
	if bounded, ok := ctx.(*boundedContext); ok {
		ctx = bounded.Context // whose only other end is the deadline
	}
	for {
		w.timer.Reset(min(wait, checkEvery))
		var err error
		select {
		case answer := <-w.answer:
			return answer, nil
		case <-ctx.Done():
			err = ctx.Err()
		case <-w.timer.C:
			if wait -= checkEvery; wait <= 0 {
				err = late
			}
		}
		switch {
		case err != nil:
		case a.nc.IsClosed():
			err = nats.ErrConnectionClosed
		case !a.nc.IsConnected(), a.nc.Stats().Reconnects != w.connection:
			err = nats.ErrDisconnected
		default:
			continue
		}
		if !a.forget(token) {
			return <-w.answer, nil // just now
		}
		return nil, err
	}
}
