package localnats

import (
	"fmt"
	"sync"

	"github.com/nats-io/nats-server/v2/server"
)

// failureLog keeps what the server logs when it can't start, the only place where
// it says so, and drops everything else.
type failureLog struct {
	mu    sync.Mutex
	fatal error
}

var _ server.Logger = (*failureLog)(nil)

func (l *failureLog) failure() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fatal
}

func (l *failureLog) Fatalf(format string, v ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fatal = fmt.Errorf(format, v...)
}

func (l *failureLog) Errorf(string, ...any)  {}
func (l *failureLog) Noticef(string, ...any) {}
func (l *failureLog) Warnf(string, ...any)   {}
func (l *failureLog) Debugf(string, ...any)  {}
func (l *failureLog) Tracef(string, ...any)  {}
