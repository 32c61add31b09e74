package servers

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"

	"github.com/tributary-es/tributary/internal/testserver"
)

// Command is the first argument of a process that is to be a server, see
// [Child].
const Command = "serve-nats"

// order is what a child process is to do: one line of JSON, its second argument.
type order struct {
	Dir        string // of the store
	SyncAlways bool
}

// ready is what it answers, one line on its standard output.
type ready struct {
	URL string
}

// Child is what a process does whose first argument is [Command]: it serves until
// its standard input ends, as it does when the process that started it is gone.
func Child(args []string, in io.Reader, out io.Writer) error {
	// An interrupt from the terminal is for the process that started this one.
	signal.Ignore(os.Interrupt)
	if len(args) != 1 {
		return fmt.Errorf("%s takes one argument, not %d", Command, len(args))
	}
	var o order
	if err := json.Unmarshal([]byte(args[0]), &o); err != nil {
		return err
	}
	var options []testserver.Option
	if o.SyncAlways {
		options = append(options, testserver.SyncAlways())
	}
	s, err := testserver.Start(o.Dir, options...)
	if err != nil {
		return err
	}
	defer s.Shutdown()
	if err := json.NewEncoder(out).Encode(ready{URL: s.URL()}); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, in)
	return err
}
