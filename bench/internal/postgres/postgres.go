// Package postgres is an event store in a PostgreSQL table, written the way
// someone would who picked PostgreSQL for it: to compare with.
//
// [Start] starts a PostgreSQL of its own in a temporary directory, reached over
// TCP on loopback as the NATS servers are. [Server.Open] makes the table and
// returns the [Store] to append and read with.
//
// # What is compared
//
// One table holds all events, with a global position and a unique key of
// (stream, version), which is at the same time what decides between two writers
// and what reads an event stream in order. Whatever is appended is one prepared
// statement, its own transaction, in one round trip. There is no index by event
// id: repetitions are not looked for, which is in PostgreSQL's favour.
package postgres

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	// How many connections a [Store] has. Of 8, 16, 32 and 64, with 64 writers on
	// two cores, 64 were best where commits wait for the disk, which then writes
	// many at a time, and 8 where they don't (five rounds, in turns).
	durableConns = 64
	quickConns   = 8

	// startTimeout bounds initdb, and the server's start. Either takes a second
	// or two.
	startTimeout = 2 * time.Minute

	// stopTimeout bounds each of the ways to ask the server to stop.
	stopTimeout = 30 * time.Second

	// portAttempts bounds how often another port is tried: one that was free can
	// be taken by somebody else before the server listens on it.
	portAttempts = 5

	superuser = "bench"
)

// settings are the server's, where they differ from its defaults: what anyone
// would set in production on a machine with some memory and an SSD. What is safe
// by default stays as it is (fsync, full_page_writes).
var settings = map[string]string{
	"fsync":                "on",
	"full_page_writes":     "on",
	"shared_buffers":       "512MB",
	"effective_cache_size": "2GB",
	"wal_buffers":          "16MB",
	"max_wal_size":         "4GB", // no checkpoint because of the amount written
	"checkpoint_timeout":   "15min",
	"random_page_cost":     "1.1",
	"jit":                  "off", // compiling takes longer than any query here
	"max_connections":      strconv.Itoa(3*durableConns + 16),
	"log_min_messages":     "warning",
}

// Server is a PostgreSQL server with a cluster of its own.
type Server struct {
	dir     string
	log     *os.File
	cmd     *exec.Cmd
	exited  chan struct{} // closed when the process has ended
	durable bool
	url     string
	version string
}

// Start makes a PostgreSQL cluster in a temporary directory and starts its
// server. durable is synchronous_commit: with it, a commit that was acknowledged
// is on disk; without it, the server writes within 200 ms (wal_writer_delay,
// three times it at most) of acknowledging. fsync is on either way.
//
// PostgreSQL's programs are looked for on PATH, then in /usr/lib/postgresql, the
// newest version first; it returns [ErrMissing] where they are not there. Where
// this process is root's, which PostgreSQL refuses to run as, the server is the
// user postgres's, or nobody's.
func Start(ctx context.Context, durable bool) (_ *Server, err error) {
	bin, err := programs()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "tributary-postgres-")
	if err != nil {
		return nil, err
	}
	s := &Server{dir: dir, durable: durable}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	as, err := unprivileged()
	if err != nil {
		return nil, err
	}
	if err := as.own(dir); err != nil {
		return nil, err
	}
	password := rand.Text()
	if err := s.initialise(ctx, bin, as, password); err != nil {
		return nil, err
	}
	if s.log, err = os.Create(filepath.Join(dir, "log")); err != nil {
		return nil, err
	}
	for range portAttempts {
		var taken bool
		if taken, err = s.start(ctx, bin, as, password); !taken {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

// programs returns the directory that PostgreSQL's programs are in.
func programs() (string, error) {
	dirs := filepath.SplitList(os.Getenv("PATH"))
	installed, err := filepath.Glob("/usr/lib/postgresql/*/bin")
	if err != nil {
		return "", err
	}
	slices.SortFunc(installed, func(a, b string) int { return majorVersion(b) - majorVersion(a) })
	for _, dir := range append(dirs, installed...) {
		if runnable(filepath.Join(dir, "initdb")) && runnable(filepath.Join(dir, "postgres")) {
			return dir, nil
		}
	}
	return "", fmt.Errorf("%w: no initdb and postgres on PATH or in /usr/lib/postgresql", ErrMissing)
}

// majorVersion is 15 for /usr/lib/postgresql/15/bin.
func majorVersion(bin string) int {
	n, _ := strconv.Atoi(filepath.Base(filepath.Dir(bin)))
	return n
}

func runnable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

func (s *Server) initialise(ctx context.Context, bin string, as account, password string) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	secret := filepath.Join(s.dir, "password")
	if err := os.WriteFile(secret, []byte(password), 0o600); err != nil {
		return err
	}
	if err := as.own(secret); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, filepath.Join(bin, "initdb"), "--pgdata", s.data(), "--username", superuser,
		"--auth", "scram-sha-256", "--pwfile", secret, "--encoding", "UTF8", "--locale", "C", "--no-instructions")
	cmd.Dir = s.dir
	as.apply(cmd)
	out, err := cmd.CombinedOutput()
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("initdb: %w (does the account it runs under get to %s?)", err, s.dir)
	}
	if err != nil {
		return fmt.Errorf("initdb: %w: %s", err, bytes.TrimSpace(out))
	}
	return os.Remove(secret)
}

// start starts the server on a port that is free, and returns when it answers.
// taken tells that somebody else took the port meanwhile.
func (s *Server) start(ctx context.Context, bin string, as account, password string) (taken bool, err error) {
	port, err := freePort()
	if err != nil {
		return false, err
	}
	args := []string{"-D", s.data(), "-p", strconv.Itoa(port),
		"-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=",
		"-c", "synchronous_commit=" + map[bool]string{true: "on", false: "off"}[s.durable]}
	for name, value := range settings {
		args = append(args, "-c", name+"="+value)
	}
	before, err := s.log.Seek(0, 1)
	if err != nil {
		return false, err
	}
	cmd := exec.Command(filepath.Join(bin, "postgres"), args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = s.dir, s.log, s.log
	as.apply(cmd)
	started, exited := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(exited)
		runtime.LockOSThread() // and ends the thread with the goroutine, see apply
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // how it ended is told by its log
		}
	}()
	if err := <-started; err != nil {
		return false, fmt.Errorf("starting postgres: %w", err)
	}
	s.cmd, s.exited = cmd, exited
	s.url = (&url.URL{Scheme: "postgres", User: url.UserPassword(superuser, password),
		Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), Path: "postgres", RawQuery: "sslmode=disable"}).String()

	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		err := s.ask(ctx)
		if err == nil {
			return false, nil
		}
		select {
		case <-exited:
			said := s.logged(before)
			return strings.Contains(said, "could not bind"), fmt.Errorf("postgres ended: %s", said)
		case <-ctx.Done():
			return false, fmt.Errorf("postgres does not answer: %w: %w", ctx.Err(), err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// ask has the server tell its version.
func (s *Server) ask(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, s.url)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	return conn.QueryRow(ctx, "SHOW server_version").Scan(&s.version)
}

// logged is what the server has logged since it was at offset.
func (s *Server) logged(offset int64) string {
	all, err := os.ReadFile(s.log.Name())
	if err != nil {
		return err.Error()
	}
	return string(bytes.TrimSpace(all[min(offset, int64(len(all))):]))
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// Version returns the server's version, such as "15.13 (Debian 15.13-0+deb12u1)".
func (s *Server) Version() string { return s.version }

// Open makes the table where it is missing, and returns a [Store] with
// connections of its own. Every Store of a Server has the same events; three can
// be open at a time.
func (s *Server) Open(ctx context.Context) (*Store, error) {
	cfg, err := pgxpool.ParseConfig(s.url)
	if err != nil {
		return nil, err
	}
	cfg.MaxConns = quickConns
	if s.durable {
		cfg.MaxConns = durableConns
	}
	cfg.MinConns = cfg.MaxConns
	// Nothing that happens by the clock is to happen in a measurement.
	cfg.MaxConnLifetime, cfg.MaxConnIdleTime = 24*time.Hour, 24*time.Hour
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, err
	}
	store := &Store{pool: pool}
	if err := store.prepare(ctx); err != nil {
		pool.Close()
		return nil, err
	}
	return store, nil
}

// Close stops the server and removes its directory.
func (s *Server) Close() error {
	err := s.stop()
	if s.log != nil {
		err = errors.Join(err, s.log.Close())
	}
	return errors.Join(err, os.RemoveAll(s.dir))
}

// stop asks the server to stop: politely (a fast shutdown), firmly (an immediate
// one), and then not at all. Its own processes end with it.
func (s *Server) stop() error {
	if s.cmd == nil {
		return nil
	}
	for _, signal := range []os.Signal{os.Interrupt, quit, os.Kill} {
		if err := s.cmd.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return fmt.Errorf("stopping postgres: %w", err)
		}
		select {
		case <-s.exited:
			return nil
		case <-time.After(stopTimeout):
		}
	}
	return errors.New("stopping postgres: it doesn't end")
}
