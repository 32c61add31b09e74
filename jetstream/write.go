package jetstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/jetstream/internal/wire"
)

// Headers of the server's that make a write conditional, erasing, or part of an
// atomic batch.
const (
	headerFence       = "Nats-Expected-Last-Subject-Sequence"
	headerRollup      = "Nats-Rollup"
	headerBatchID     = "Nats-Batch-Id"
	headerBatchSeq    = "Nats-Batch-Sequence"
	headerBatchCommit = "Nats-Batch-Commit"
)

// write is one commit or marker on its way to the server.
type write struct {
	target
	messages []wire.Message
	id       uuid.UUID // of the first event, or the marker: tells that it is ours
	before   *head     // what it follows; its position is the fence
	rollup   bool      // erases every other message of the subject
}

// verdict is what an attempt to publish came to.
type verdict int

const (
	vStored   verdict = iota // it is stored, once
	vConflict                // not stored: the fence has passed
	vInFlight                // not stored: another write is in flight
	vAgain                   // not stored: the server can't just now
	vRefused                 // not stored, and never will be
	vFull                    // not stored by this attempt: no room
	vUnknown                 // it may be stored, or may yet be
)

// write stores w and returns the position of its last message. The error is
// errConflict or errInFlight where it was not stored because of others, else the
// caller's.
//
// An attempt whose outcome is unknown is repeated with the same fence, which
// alone can tell: an acknowledgement means stored exactly once; a passed fence
// means that something is there, and its id whether that is w.
func (b *Backend) write(ctx context.Context, w *write) (uint64, error) {
	unknown := false
	wait := b.cfg.RequestTimeout
	for tries := 0; ; tries++ {
		position, v, err := b.publish(ctx, w, wait)
		switch v {
		case vStored:
			return position, nil
		case vConflict:
			if !unknown {
				return 0, errConflict
			}
			return b.resolve(ctx, w)
		case vInFlight:
			if !unknown {
				return 0, errInFlight
			}
		case vRefused:
			if !unknown {
				return 0, err
			}
		case vFull:
			if !unknown {
				return 0, fmt.Errorf("%w: %w", backend.ErrStoreFull, err)
			}
		case vUnknown:
			unknown = true
			wait *= 2 // a server that is slow is not helped by more of the same
		}
		b.log.DebugContext(ctx, "repeating a write", "subject", w.subject, "fence", w.before.position, "unknown", unknown, "error", err)
		closed := b.nc.IsClosed()
		if !closed && pause(ctx, tries) {
			continue
		}
		if unknown {
			return 0, outcomeUnknown(ctx, err)
		}
		return 0, unavailable(ctx, err)
	}
}

// resolve finds out, after the fence has passed, whether w is what passed it:
// the message that follows the fence on the subject is w's first, or not.
func (b *Backend) resolve(ctx context.Context, w *write) (uint64, error) {
	for tries := 0; ; tries++ {
		next, err := b.leaderGet(ctx, getRequest{Seq: w.before.position + 1, NextFor: w.subject})
		if err != nil {
			return 0, outcomeUnknown(ctx, err)
		}
		if next != nil {
			return b.recognise(ctx, w, next)
		}
		// The leader asked doesn't see yet what the one that refused saw.
		if !pause(ctx, tries) {
			return 0, outcomeUnknown(ctx, errConflict)
		}
	}
}

// recognise tells whether next, the message after the fence, is w's.
func (b *Backend) recognise(ctx context.Context, w *write, next *stored) (uint64, error) {
	rec, err := wire.Decode(next.header, next.body)
	if err == nil {
		if id, err := rec.MarkerID(); err == nil && id == w.id {
			return b.recogniseParts(ctx, w, next) // or another process repeats what we do
		}
	}
	// A message keeps its own fence. Where that is ours, nothing ever stood
	// between; where it is a later one, what it followed was erased since.
	if values := next.header[headerFence]; len(values) == 1 && values[0] != w.fence() {
		return 0, outcomeUnknown(ctx, errors.New("the event stream was erased or truncated meanwhile"))
	}
	return 0, errConflict
}

// recogniseParts tells whether all of w is there, which begins with first: a
// batch that a server failed to apply leaves its beginning behind at most, and
// counts for nothing then.
func (b *Backend) recogniseParts(ctx context.Context, w *write, first *stored) (uint64, error) {
	started := time.Now()
	for i := range w.messages {
		m := first
		for tries := 0; i > 0; tries++ {
			var err error
			if m, err = b.leaderGet(ctx, getRequest{Seq: first.position + uint64(i)}); err != nil {
				return 0, outcomeUnknown(ctx, err)
			}
			if m != nil {
				break
			}
			// It is being applied; or the server failed in the middle of that.
			if time.Since(started) > b.cfg.RequestTimeout {
				return 0, errUnfinished
			}
			if !pause(ctx, tries) {
				return 0, outcomeUnknown(ctx, errUnfinished)
			}
		}
		// The same events in another shape, or as the beginning of another life, are
		// another process's: comparing ids will tell.
		ours := w.messages[i].Header
		if m.subject != w.subject {
			return 0, errConflict
		}
		for _, name := range []string{wire.HeaderID, wire.HeaderPart, wire.HeaderStream} {
			if !slices.Equal(m.header[name], ours[name]) {
				return 0, errConflict
			}
		}
	}
	return first.position + uint64(len(w.messages)) - 1, nil
}

// publish sends w once, waits for the answer, and judges it.
func (b *Backend) publish(ctx context.Context, w *write, wait time.Duration) (uint64, verdict, error) {
	switch {
	case ctx.Err() != nil:
		return 0, vAgain, ctx.Err()
	case b.nc.IsClosed():
		return 0, vAgain, nats.ErrConnectionClosed
	case !b.nc.IsConnected():
		// The client would keep it, and send it after the reconnect, when the
		// caller has long been told that it failed.
		return 0, vAgain, nats.ErrDisconnected
	}
	last := len(w.messages) - 1
	batchID := ""
	if last > 0 {
		batchID = uuid.NewString() // each attempt is a batch of its own
	}
	for i := range w.messages[:last] {
		if ctx.Err() != nil {
			return 0, vAgain, ctx.Err() // without its last message a batch is nothing
		}
		if err := b.nc.PublishMsg(w.message(i, batchID)); err != nil {
			return 0, vAgain, err
		}
	}
	answer, err := b.requestOnce(ctx, w.message(last, batchID), wait)
	if errors.Is(err, nats.ErrMaxPayload) { // the server's has just become smaller
		return 0, vRefused, fmt.Errorf("%w: %w", backend.ErrEventTooLarge, err)
	}
	if err != nil {
		return 0, notSent(err), b.explain(w.subject, err)
	}
	return b.judge(answer, w)
}

// fence is the position that w follows, as the server's header has it.
func (w *write) fence() string { return strconv.FormatUint(w.before.position, 10) }

// message makes the i-th message of w ready to send. Headers of an attempt are
// its own, for messages may still be on their way when they are sent again.
func (w *write) message(i int, batchID string) *nats.Msg {
	m := w.messages[i]
	header := make(nats.Header, len(m.Header)+4)
	maps.Copy(header, m.Header)
	if i == 0 {
		header[headerFence] = []string{w.fence()}
		if w.rollup {
			header[headerRollup] = []string{"sub"}
		}
	}
	if batchID != "" {
		header[headerBatchID] = []string{batchID}
		header[headerBatchSeq] = []string{strconv.Itoa(i + 1)}
		if i == len(w.messages)-1 {
			header[headerBatchCommit] = []string{"1"}
		}
	}
	return &nats.Msg{Subject: w.subject, Header: header, Data: m.Body}
}

// notSent judges an attempt without an answer.
func notSent(err error) verdict {
	switch {
	case errors.Is(err, nats.ErrNoResponders), // the server says that no one took it
		errors.Is(err, nats.ErrReconnectBufExceeded), // never left the client
		errors.Is(err, nats.ErrInvalidConnection):
		return vAgain
	}
	return vUnknown
}

// judge reads the server's answer.
func (b *Backend) judge(answer *nats.Msg, w *write) (uint64, verdict, error) {
	var ack struct {
		Stream string    `json:"stream"`
		Domain string    `json:"domain"`
		Seq    uint64    `json:"seq"`
		Error  *apiError `json:"error"`
	}
	if err := json.Unmarshal(answer.Data, &ack); err != nil {
		return 0, vUnknown, fmt.Errorf("unreadable acknowledgement: %w", err)
	}
	if ack.Error == nil {
		if ack.Seq == 0 {
			return 0, vUnknown, errors.New("acknowledgement without a position")
		}
		if ack.Stream != b.cfg.Stream || b.cfg.Domain != "" && ack.Domain != b.cfg.Domain {
			return 0, vUnknown, fmt.Errorf("acknowledged by JetStream stream %q, domain %q, which has the same subjects", ack.Stream, ack.Domain)
		}
		return ack.Seq, vStored, nil
	}
	return 0, b.judgeError(ack.Error), refusal(ack.Error, w)
}

func (b *Backend) judgeError(e *apiError) verdict {
	switch {
	case e.ErrCode == codeWrongLastSequence:
		return vConflict
	case e.ErrCode == codeWrongLastConstant:
		return vInFlight
	case e.ErrCode == codeDuplicateInProcess, e.ErrCode == codeBatchIncomplete, e.ErrCode == codeTooManyBatches:
		return vAgain
	case isFull(e), e.ErrCode == codeStoreFailed && strings.Contains(e.Description, "maximum"):
		return vFull
	case e.ErrCode == codeSequenceMismatch, e.ErrCode == codeStoreFailed, e.Code >= 500:
		return vUnknown
	}
	return vRefused
}

// refusal makes of the server's error one of this library's.
func refusal(e *apiError, w *write) error {
	switch e.ErrCode {
	case codeMessageTooLarge, codeHeaderTooLarge:
		return fmt.Errorf("%w: %w", backend.ErrEventTooLarge, e)
	case codeBatchTooLarge:
		return fmt.Errorf("%w: %d messages: %w", backend.ErrAppendTooLarge, len(w.messages), e)
	}
	return fmt.Errorf("%w: %w", backend.ErrUnavailable, e)
}
