// Package securitytest tests what docs/security.md says, on servers with the very
// configuration files that it shows.
package securitytest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/tributary-es/tributary/internal/testserver"
)

const configs = "../../docs/security"

// role is a kind of client: which inbox it has, and what it may do.
type role string

const (
	reader   role = "READER"
	writer   role = "WRITER"
	consumer role = "CONSUMER"
	admin    role = "ADMIN"
)

var roles = []role{reader, writer, consumer, admin}

// inbox is the option that keeps a client's answers to itself.
func (r role) inbox() nats.Option { return nats.CustomInboxPrefix("_INBOX_" + string(r)) }

// login is the option that connects as the user of accounts.conf.
func (r role) login() nats.Option {
	return nats.UserInfo(strings.ToLower(string(r)), "secret-of-"+string(r))
}

// options are those of a client of accounts.conf.
func (r role) options() []nats.Option { return []nats.Option{r.login(), r.inbox()} }

// loadConfig reads a configuration file as the server does.
func loadConfig(t *testing.T, file string) *server.Options {
	t.Helper()
	o, err := server.ProcessConfigFile(filepath.Join(configs, file))
	if err != nil {
		t.Fatal(err)
	}
	o.NoLog, o.NoSigs = true, true
	return o
}

// start starts a server with a configuration file, but for loopback only, and
// without waiting for the disk at each write. What the file takes from the
// environment must be there.
func start(t *testing.T, file string) *testserver.Server {
	t.Helper()
	loaded := loadConfig(t, file)
	return testserver.Single(t, testserver.WithServerOptions(func(o *server.Options) {
		loaded.Host = o.Host
		loaded.SyncAlways = false
		*o = *loaded
	}))
}

// setPasswords puts the users' passwords where accounts.conf looks for them.
func setPasswords(t *testing.T) {
	t.Helper()
	for _, r := range roles {
		t.Setenv(string(r)+"_PASSWORD", "secret-of-"+string(r))
	}
}

// startAccounts starts a server with accounts.conf.
func startAccounts(t *testing.T) *testserver.Server {
	t.Helper()
	setPasswords(t)
	return start(t, "accounts.conf")
}

// permissions are what permissions.conf has for a role.
func permissions(t *testing.T, r role) *server.Permissions {
	t.Helper()
	setPasswords(t)
	for _, u := range loadConfig(t, "accounts.conf").Users {
		if u.Username == strings.ToLower(string(r)) {
			return u.Permissions
		}
	}
	t.Fatalf("accounts.conf has no %s", r)
	return nil
}

func TestThePageShowsTheFilesAsTheyAre(t *testing.T) {
	page, err := os.ReadFile("../../docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(configs, "*"))
	if err != nil || len(files) < 6 {
		t.Fatalf("%v, %v", files, err)
	}
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(page), "```\n# "+filepath.Base(path)+"\n"+string(text)+"```\n") {
			t.Errorf("%s isn't shown, or not as it is", path)
		}
	}
}
