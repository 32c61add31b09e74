package raw

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Import publishes messages with at most window under way, each fenced by the one
// before it on its subject, which it waits for where it has to.
func Import(ctx context.Context, nc *nats.Conn, messages []*nats.Msg, window int) error {
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(window))
	if err != nil {
		return err
	}
	defer js.CleanupPublisher()
	last := make(map[string]*sent)
	all := make([]sent, len(messages))
	for i, msg := range messages {
		fence := uint64(0)
		if before := last[msg.Subject]; before != nil {
			if fence, err = before.acknowledged(ctx, js); err != nil {
				return err
			}
		}
		Fence(msg, fence)
		all[i].msg = msg
		if all[i].future, err = js.PublishMsgAsync(msg, patient); err != nil {
			return err
		}
		last[msg.Subject] = &all[i]
	}
	for i := range all {
		if _, err := all[i].acknowledged(ctx, js); err != nil {
			return fmt.Errorf("message %d: %w", i, err)
		}
	}
	return nil
}

// patient waits for a place in the window for as long as a busy machine may need.
var patient = jetstream.WithStallWait(time.Minute)

// sent is a message whose acknowledgement is to come, or has.
type sent struct {
	msg      *nats.Msg
	future   jetstream.PubAckFuture
	sequence uint64 // 0: not known yet
}

// acknowledged waits for the sequence.
func (s *sent) acknowledged(ctx context.Context, js jetstream.JetStream) (uint64, error) {
	if s.sequence != 0 {
		return s.sequence, nil
	}
	select {
	case ack := <-s.future.Ok():
		s.sequence = ack.Sequence
		return s.sequence, nil
	case err := <-s.future.Err():
		if !inFlight(err) || ctx.Err() != nil {
			return 0, err
		}
		if s.future, err = js.PublishMsgAsync(s.msg, patient); err != nil {
			return 0, err
		}
		return s.acknowledged(ctx, js)
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}
