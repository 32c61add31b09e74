package jobs

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/bench/internal/measure"
	"github.com/tributary-es/tributary/bench/internal/raw"
	"github.com/tributary-es/tributary/jetstream"
)

// commandJob handles commands: it loads an event stream and appends to it.
func commandJob() Job {
	const ours, theirs = 0, 1
	return Job{
		Name:   "command",
		Rounds: 3,
		Rows: []Row{{
			Key:    "command",
			Work:   "load 10 commits, then append 1 event; another process wrote the last commit",
			NextTo: "the raw round trips: get of the last message, nine pipelined gets of known sequences, fenced publish",
			How: "Each command is for another event stream, of which this process wrote nine commits and a process with another connection the tenth. " +
				"The raw side's round trips are three, as the sequences are known beforehand and the first answer has the fence; a fourth would make it slower.",
			Ours: ours, Theirs: theirs, Target: Target{AtMost: 1.2},
		}},
		Setup: func(ctx context.Context, s *Store) (*Setup, error) {
			other, err := s.other(ctx)
			if err != nil {
				return nil, err
			}
			otherRaw, err := raw.NewClient(ctx, s.opened[len(s.opened)-1], s.cfg.Stream)
			if err != nil {
				return nil, err
			}
			template, err := s.message(ctx, "", 1)
			if err != nil {
				return nil, err
			}
			return &Setup{Sides: []measure.Side{
				ours:   s.commandSide(other),
				theirs: s.rawCommandSide(otherRaw, template),
			}}, nil
		},
	}
}

func (s *Store) commandSide(other *jetstream.Backend) measure.Side {
	name := func(round, i int) string { return fmt.Sprintf("command-%d-%d", round, i) }
	event := events(1)
	return measure.Side{
		Name: "Tributary",
		Prepare: func(ctx context.Context, round int) error {
			for commit := range commits {
				b := s.Backend
				if commit == commits-1 {
					b = other
				}
				for i := range s.Loads {
					if _, err := backend.Append(ctx, b, name(round, i), backend.AnyVersion(), event, uuid.Nil); err != nil {
						return err
					}
				}
			}
			return nil
		},
		Run: func(ctx context.Context, r *measure.Round) error {
			return r.Each(s.Loads, func(i int) error {
				for {
					got, err := s.Backend.ReadStream(ctx, name(r.Number, i), 1, 1000, uuid.Nil)
					if err != nil {
						return err
					}
					expected := backend.ExactVersion(uint64(len(got)))
					_, err = backend.Append(ctx, s.Backend, name(r.Number, i), expected, event, uuid.Nil)
					// A replica that lags did not have the other process's commit yet.
					if !errors.Is(err, backend.ErrWrongExpectedVersion) {
						return err
					}
				}
			})
		},
	}
}

func (s *Store) rawCommandSide(other *raw.Client, template *nats.Msg) measure.Side {
	var messages []*nats.Msg
	var sequences [][]uint64
	return measure.Side{
		Name: "nats.go",
		Prepare: func(ctx context.Context, round int) error {
			messages, sequences = make([]*nats.Msg, s.Loads), make([][]uint64, s.Loads)
			for commit := range commits {
				client := s.Raw
				if commit == commits-1 {
					client = other
				}
				for i := range s.Loads {
					fence := uint64(0)
					if commit == 0 {
						subject := s.subject(fmt.Sprintf("raw-command-%d-%d", round, i))
						messages[i] = &nats.Msg{Subject: subject, Header: maps.Clone(template.Header), Data: template.Data}
					} else {
						fence = sequences[i][commit-1]
					}
					sequence, err := client.Publish(ctx, messages[i], fence)
					if err != nil {
						return err
					}
					sequences[i] = append(sequences[i], sequence)
				}
			}
			return nil
		},
		Run: func(ctx context.Context, r *measure.Round) error {
			return r.Each(s.Loads, func(i int) error {
				for {
					_, fence, err := s.Raw.Last(ctx, messages[i].Subject)
					if err != nil {
						return err
					}
					if _, err := s.Raw.Get(ctx, sequences[i][:commits-1]); err != nil {
						return err
					}
					_, err = s.Raw.Publish(ctx, messages[i], fence)
					if !raw.WrongFence(err) { // as on our side
						return err
					}
				}
			})
		},
	}
}
