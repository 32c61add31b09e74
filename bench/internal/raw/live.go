package raw

import (
	"context"
	"errors"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Push calls got for each message that is stored on a subject from now on, as an
// ordered consumer that the server pushes to has it, until stop is called.
func (c *Client) Push(ctx context.Context, subject string, got func()) (stop func(), err error) {
	js, err := c.nc.JetStream()
	if err != nil {
		return nil, err
	}
	sub, err := js.Subscribe(subject, func(*nats.Msg) { got() },
		nats.OrderedConsumer(), nats.DeliverNew(), nats.BindStream(c.stream.CachedInfo().Config.Name), nats.Context(ctx))
	if err != nil {
		return nil, err
	}
	return func() { _ = sub.Unsubscribe() }, nil
}

// PullAcked is Push by a durable consumer that is pulled from, with each message
// acknowledged once got has returned. The consumer is deleted by stop.
func (c *Client) PullAcked(ctx context.Context, subject string, got func()) (stop func(), err error) {
	const name = "pulled"
	consumer, err := c.stream.CreateConsumer(ctx, jetstream.ConsumerConfig{
		Durable: name, FilterSubject: subject, DeliverPolicy: jetstream.DeliverNewPolicy, AckPolicy: jetstream.AckExplicitPolicy,
	})
	if err != nil {
		return nil, err
	}
	consuming, err := consumer.Consume(func(msg jetstream.Msg) {
		got()
		_ = msg.Ack()
	})
	if err != nil {
		return nil, errors.Join(err, c.stream.DeleteConsumer(ctx, name))
	}
	return func() {
		consuming.Stop()
		_ = c.stream.DeleteConsumer(context.WithoutCancel(ctx), name)
	}, nil
}

// ConsumeAcked reads the first n messages of a subject through a durable consumer,
// acknowledges each, and deletes the consumer when the last acknowledgement has
// come to the server.
func (c *Client) ConsumeAcked(ctx context.Context, subject string, n int) error {
	const name = "acked"
	consumer, err := c.stream.CreateConsumer(ctx, jetstream.ConsumerConfig{Durable: name, FilterSubject: subject})
	if err != nil {
		return err
	}
	left, done := n, make(chan error, 1)
	consuming, err := consumer.Consume(func(msg jetstream.Msg) {
		if left--; left > 0 {
			if err := msg.Ack(); err != nil {
				done <- err
			}
		} else if left == 0 {
			done <- msg.DoubleAck(ctx)
		}
	}, jetstream.PullMaxMessages(1000))
	if err == nil {
		select {
		case err = <-done:
		case <-ctx.Done():
			err = ctx.Err()
		}
		consuming.Stop()
	}
	return errors.Join(err, c.stream.DeleteConsumer(ctx, name))
}
