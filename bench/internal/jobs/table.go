package jobs

import (
	"errors"

	"github.com/tributary-es/tributary/bench/internal/servers"
)

// ErrSkipped comes where a job can't be done on this machine; its text says why.
var ErrSkipped = errors.New("not measured")

// Section is jobs that are done on the same server.
type Section struct {
	Key   string // by which it is chosen
	Title string
	Intro string // sentences
	Kind  servers.Kind
	Jobs  []Job
}

// Sections is everything that is measured, in the order of the report.
func Sections() []Section {
	onJetStream := []Job{
		appendJob(),
		writersJob(),
		hotJob(),
		loadJob(),
		commandJob(),
		forwardJob(),
		deepJob(),
		importJob(),
		catchUpJob(),
		liveJob(),
	}
	return []Section{
		{
			Key: "single", Title: "One embedded server", Kind: servers.Single,
			Intro: "nats-server in the process of the benchmark, as the examples embed it: a file store on one replica, the server's default durability.",
			Jobs:  append(onJetStream[:len(onJetStream):len(onJetStream)], headsJob()),
		},
		{
			Key: "cluster", Title: "A cluster of three", Kind: servers.Cluster,
			Intro: "Three servers in the process of the benchmark, each JetStream stream with three replicas. They share the machine's cores with the client.",
			Jobs:  append(onJetStream[:len(onJetStream):len(onJetStream)], headsJob()),
		},
		{
			Key: "remote", Title: "The server that NATS_URL names", Kind: servers.Remote,
			Intro: "Each job has a JetStream stream of its own there, with a random name and prefix, on one replica, and deletes it at its end.",
			Jobs:  onJetStream,
		},
		{
			Key: "allocs", Title: "What is allocated", Kind: servers.Apart,
			Intro: "What the client's process allocates for each event, as runtime.MemStats counts it, the goroutines of nats.go included. The server is another process.",
			Jobs:  []Job{allocsJob()},
		},
		{
			Key: "postgres", Title: "Next to PostgreSQL, quick commits", Kind: servers.Apart,
			Intro: "An outside view: the same work on a table of events in PostgreSQL, through pgx, without a wait for the disk on either side: " +
				"the server's default of a sync every two minutes, and `synchronous_commit` off. Both servers are processes of their own.",
			Jobs: []Job{postgresJob(false)},
		},
		{
			Key: "postgres-synced", Title: "Next to PostgreSQL, durable commits", Kind: servers.Synced,
			Intro: "The same where an acknowledged write is on disk: `sync_interval: always`, and `synchronous_commit` on.",
			Jobs:  []Job{postgresJob(true)},
		},
	}
}

// Wanted returns the section with the jobs that have a row that is wanted.
func (s Section) Wanted(wanted func(key string) bool) Section {
	all := s.Jobs
	s.Jobs = nil
	for _, j := range all {
		if len(j.wanted(wanted)) > 0 {
			s.Jobs = append(s.Jobs, j)
		}
	}
	return s
}
