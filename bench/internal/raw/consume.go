package raw

import (
	"context"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// ordered is an ordered consumer of a subject from a sequence on.
func ordered(subject string, from uint64) jetstream.OrderedConsumerConfig {
	cfg := jetstream.OrderedConsumerConfig{FilterSubjects: []string{subject}}
	if from > 1 {
		cfg.DeliverPolicy, cfg.OptStartSeq = jetstream.DeliverByStartSequencePolicy, from
	}
	return cfg
}

// Consume reads the first n messages of a subject through an ordered consumer,
// which has at most pull of them under way, and deletes it.
func (c *Client) Consume(ctx context.Context, subject string, n, pull int) error {
	return c.consume(ctx, ordered(subject, 0), n, jetstream.PullMaxMessages(pull))
}

// Load reads n messages of a subject from a sequence on, 0 or 1 being the first,
// through an ordered consumer, with one pull, and deletes it. (Fetch would make
// the consumer twice: it resets an ordered one each time.)
func (c *Client) Load(ctx context.Context, subject string, from uint64, n int) error {
	return c.consume(ctx, ordered(subject, from), n, jetstream.PullMaxMessages(n), jetstream.StopAfter(n))
}

func (c *Client) consume(ctx context.Context, cfg jetstream.OrderedConsumerConfig, n int, options ...jetstream.PullMessagesOpt) error {
	consumer, err := c.stream.OrderedConsumer(ctx, cfg)
	if err != nil {
		return err
	}
	it, err := consumer.Messages(options...)
	if err != nil {
		return err
	}
	for range n {
		if _, err := it.Next(jetstream.NextContext(ctx)); err != nil {
			it.Stop()
			return err
		}
	}
	it.Stop()
	return c.stream.DeleteConsumer(ctx, consumer.CachedInfo().Name)
}

// pulls are the pull sizes that are tried.
var pulls = []int{500, 1000, 2000, 5000, 10000}

// BestPull returns the pull size with which [Client.Consume] is fastest, of
// several, each tried twice.
func (c *Client) BestPull(ctx context.Context, subject string, n int) (int, error) {
	best, least := 0, time.Duration(0)
	for _, pull := range append(pulls, pulls...) {
		start := time.Now()
		if err := c.Consume(ctx, subject, n, pull); err != nil {
			return 0, err
		}
		if took := time.Since(start); best == 0 || took < least {
			best, least = pull, took
		}
	}
	return best, nil
}

// Stored returns all messages that filter matches, in order, with the headers
// that are not the server's.
func (c *Client) Stored(ctx context.Context, filter string) ([]*nats.Msg, error) {
	// A consumer's number of pending messages may be short on a cluster.
	info, err := c.stream.Info(ctx, jetstream.WithSubjectFilter(filter))
	if err != nil {
		return nil, err
	}
	n := uint64(0)
	for _, messages := range info.State.Subjects {
		n += messages
	}
	consumer, err := c.stream.OrderedConsumer(ctx, ordered(filter, 0))
	if err != nil {
		return nil, err
	}
	it, err := consumer.Messages()
	if err != nil {
		return nil, err
	}
	defer it.Stop()
	messages := make([]*nats.Msg, n)
	for i := range messages {
		msg, err := it.Next(jetstream.NextContext(ctx))
		if err != nil {
			return nil, err
		}
		messages[i] = &nats.Msg{Subject: msg.Subject(), Header: Own(msg.Headers()), Data: msg.Data()}
	}
	return messages, nil
}
