package report

import (
	"fmt"
	"strings"
	"time"

	"github.com/tributary-es/tributary/bench/internal/followers"
)

// FollowersKey is the key of the section that [Followers] makes, and the row's in
// it.
const FollowersKey = "followers"

// FollowersWanted reports whether the section is wanted.
func FollowersWanted(wanted func(key string) bool) bool { return wanted(FollowersKey) }

// followersLimit is how much memory the process that follows may take, in bytes.
const followersLimit = 1 << 30

// Followers is the section about very many subscriptions in one process.
func Followers(res followers.Result) Section {
	s := Section{Key: FollowersKey, Title: count(res.Streams) + " subscriptions in one process"}
	s.Intro = fmt.Sprintf("One process with one connection subscribes to %s event streams at the same time, to each by itself; each has %d commits. "+
		"When all have caught up, another process appends an event to each. The server is a third process. This is `%s/%s`.",
		count(res.Streams), res.Commits, FollowersKey, FollowersKey)
	met := "yes"
	if res.After.Peak > followersLimit {
		met = "**no**"
	}
	var b strings.Builder
	fmt.Fprintln(&b, "| what | |\n| --- | --- |")
	for _, fact := range []Fact{
		{"the client's resident memory, at most (target: 1 GiB)", megabytes(res.After.Peak) + ", met: " + met},
		{"before, with the store opened", megabytes(res.Before.RSS)},
		{"while all have caught up and wait", megabytes(res.Following.RSS)},
		{"its goroutines", count(res.Goroutines)},
		{"consumers on the server", count(res.Consumers)},
		{"until all had caught up", res.CaughtUp.Round(10 * time.Millisecond).String()},
		{"until an append to each had arrived, from the first of them", res.Arrived.Round(10 * time.Millisecond).String()},
		{"of which until all were acknowledged", res.Appended.Round(10 * time.Millisecond).String()},
		{"until all had ended, after the context had", res.Ended.Round(10 * time.Millisecond).String()},
		{"consumers left on the server then", count(res.Left)},
	} {
		fmt.Fprintf(&b, "| %s | %s |\n", fact.Name, cell(fact.Value))
	}
	s.Body = b.String()
	return s
}
