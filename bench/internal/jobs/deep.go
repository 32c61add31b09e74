package jobs

import (
	"context"
	"fmt"
	"math/rand/v2"

	"github.com/google/uuid"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/bench/internal/measure"
)

// deepJob reads within a long event stream, without what lies before.
func deepJob() Job {
	const deep, consumer, back, ahead = 0, 1, 2, 3
	return Job{
		Name: "deep",
		Rows: []Row{
			{
				Key:    "deep-100",
				Work:   fmt.Sprintf("read %d events anywhere in an event stream of %s commits", Full().Page, thousands(Full().Deep)),
				NextTo: "raw ordered consumer from a known sequence",
				How: "ReadStream from a version chosen at random; after every fourth commit of the event stream lies one of another. " +
					"The raw side knows the sequence of that version, which ours has to find, makes an ordered consumer that starts there, takes as many messages with one pull and deletes it.",
				Ours: deep, Theirs: consumer,
			},
			{
				Key:    "deep-100-requests",
				Work:   "the same: requests sent",
				NextTo: "the same",
				How:    "Messages that the connection sent, as nats.go counts them.",
				Ours:   deep, Theirs: consumer, Quantity: measure.Requests,
			},
			{
				Key:    "pages-back",
				Work:   fmt.Sprintf("a page of %d events backward through the same", Full().Page),
				NextTo: "a page forward through the same",
				How: "ReadStreamBackward from where the page before ended, next to ReadStream likewise. Each round begins where the one before ended, " +
					"so that the rounds go through much of the event stream.",
				Ours: back, Theirs: ahead,
			},
			{
				Key:    "pages-back-requests",
				Work:   "the same: requests sent",
				NextTo: "the same",
				How:    "As deep-100-requests.",
				Ours:   back, Theirs: ahead, Quantity: measure.Requests,
			},
		},
		Setup: func(ctx context.Context, s *Store) (*Setup, error) {
			l, err := s.fillLong(ctx)
			if err != nil {
				return nil, err
			}
			return &Setup{Sides: []measure.Side{
				deep:     l.deepSide(),
				consumer: l.deepConsumerSide(),
				back:     l.backSide(),
				ahead:    l.aheadSide(),
			}}, nil
		},
	}
}

// long is a long event stream.
type long struct {
	*Store
	positions []uint64 // of the commits, each one event
}

const longName = "long"

func (s *Store) fillLong(ctx context.Context) (*long, error) {
	l := &long{Store: s, positions: make([]uint64, s.Deep)}
	for i := range s.Deep {
		res, err := s.append(ctx, longName, 1)
		if err != nil {
			return nil, err
		}
		l.positions[i] = res.Position
		if i%4 == 0 {
			if _, err := s.append(ctx, fmt.Sprintf("other-%d", i%s.Scattered), 1); err != nil {
				return nil, err
			}
		}
	}
	return l, nil
}

// within returns n versions that a page fits after.
func (l *long) within(round, side, n int) []uint64 {
	random := rand.New(rand.NewPCG(uint64(round), uint64(side)))
	versions := make([]uint64, n)
	for i := range versions {
		versions[i] = 1 + random.Uint64N(uint64(l.Deep-l.Page+1))
	}
	return versions
}

// checkPage checks that a page is full.
func (l *long) checkPage(got []backend.RecordedEvent, err error) error {
	if err == nil && len(got) != l.Page {
		err = fmt.Errorf("%d events of %d", len(got), l.Page)
	}
	return err
}

func (l *long) deepSide() measure.Side {
	return measure.Side{
		Name:     "Tributary",
		Requests: l.Raw.Requests,
		Run: func(ctx context.Context, r *measure.Round) error {
			versions := l.within(r.Number, 0, l.Loads)
			return r.Each(l.Loads, func(i int) error {
				return l.checkPage(l.Backend.ReadStream(ctx, longName, versions[i], uint64(l.Page), uuid.Nil))
			})
		},
	}
}

func (l *long) deepConsumerSide() measure.Side {
	return measure.Side{
		Name:     "nats.go",
		Requests: l.Raw.Requests,
		Run: func(ctx context.Context, r *measure.Round) error {
			versions := l.within(r.Number, 1, l.Consumers)
			return r.Each(l.Consumers, func(i int) error {
				return l.Raw.Load(ctx, l.subject(longName), l.positions[versions[i]-1], l.Page)
			})
		},
	}
}

func (l *long) backSide() measure.Side {
	last := 0 // the version that the next page ends with
	return measure.Side{
		Name:     "backward",
		Requests: l.Raw.Requests,
		Run: func(ctx context.Context, r *measure.Round) error {
			return r.Each(l.Pages, func(int) error {
				if last < l.Page {
					last = l.Deep
				}
				err := l.checkPage(l.Backend.ReadStreamBackward(ctx, longName, uint64(last), uint64(l.Page), uuid.Nil))
				last -= l.Page
				return err
			})
		},
	}
}

func (l *long) aheadSide() measure.Side {
	first := 1 // the version that the next page begins with
	return measure.Side{
		Name:     "forward",
		Requests: l.Raw.Requests,
		Run: func(ctx context.Context, r *measure.Round) error {
			return r.Each(l.Pages, func(int) error {
				if first+l.Page-1 > l.Deep {
					first = 1
				}
				err := l.checkPage(l.Backend.ReadStream(ctx, longName, uint64(first), uint64(l.Page), uuid.Nil))
				first += l.Page
				return err
			})
		},
	}
}
