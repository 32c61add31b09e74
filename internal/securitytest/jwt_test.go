package securitytest

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
)

// claims are what a JWT says of its subject, by kind: operator, account or user.
type claims struct {
	kind    string
	subject string // a public key
	name    string
	nats    map[string]any
}

// sign makes a JWT. They are made by hand here, as few lines as that takes:
// github.com/nats-io/jwt would be a direct dependency of the module.
func sign(t *testing.T, issuer nkeys.KeyPair, c claims) string {
	t.Helper()
	public, err := issuer.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	nats := map[string]any{"type": c.kind, "version": 2}
	maps.Copy(nats, c.nats)
	body := map[string]any{"iat": time.Now().Unix(), "iss": public, "sub": c.subject, "name": c.name, "nats": nats}
	hashed := sha256.Sum256(marshal(t, body))
	body["jti"] = base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(hashed[:])
	encode := base64.RawURLEncoding.EncodeToString
	text := encode([]byte(`{"typ":"JWT","alg":"ed25519-nkey"}`)) + "." + encode(marshal(t, body))
	signature, err := issuer.Sign([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + encode(signature)
}

func marshal(t *testing.T, value any) []byte {
	t.Helper()
	data, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// credentials makes a user's credentials file, as nsc writes it.
func credentials(t *testing.T, account nkeys.KeyPair, name string, rights map[string]any) string {
	t.Helper()
	user, public, _ := nkey(t, nkeys.CreateUser)
	seed, err := user.Seed()
	if err != nil {
		t.Fatal(err)
	}
	token := sign(t, account, claims{kind: "user", subject: public, name: name, nats: rights})
	return writeFile(t, name+".creds", fmt.Appendf(nil, "-----BEGIN NATS USER JWT-----\n%s\n------END NATS USER JWT------\n\n"+
		"-----BEGIN USER NKEY SEED-----\n%s\n------END USER NKEY SEED------\n", token, seed))
}

// accountClaims are those of an account, with or without room for JetStream.
func accountClaims(public, name string, jetstream bool) claims {
	limits := map[string]any{"subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1, "leaf": -1}
	if jetstream {
		limits["disk_storage"], limits["mem_storage"], limits["streams"], limits["consumer"] = 1<<30, 1<<30, -1, -1
	}
	return claims{kind: "account", subject: public, name: name, nats: map[string]any{"limits": limits}}
}

// setOperator puts the operator's JWT, and those of the accounts, where
// operator.conf looks for them, and returns the key of the store's account.
func setOperator(t *testing.T) (account nkeys.KeyPair) {
	t.Helper()
	operator, operatorKey, _ := nkey(t, nkeys.CreateOperator)
	account, accountKey, _ := nkey(t, nkeys.CreateAccount)
	_, systemKey, _ := nkey(t, nkeys.CreateAccount)
	dir := t.TempDir()
	for public, token := range map[string]string{
		accountKey: sign(t, operator, accountClaims(accountKey, "STORE", true)),
		systemKey:  sign(t, operator, accountClaims(systemKey, "SYS", false)),
	} {
		if err := os.WriteFile(filepath.Join(dir, public+".jwt"), []byte(token), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("ACCOUNT_JWTS", dir)
	t.Setenv("OPERATOR_JWT", sign(t, operator, claims{kind: "operator", subject: operatorKey, name: "operator",
		nats: map[string]any{"system_account": systemKey}}))
	return account
}

func TestClientsWithJWTs(t *testing.T) {
	account := setOperator(t)
	rights := make(map[role]map[string]any)
	for _, r := range roles {
		may := permissions(t, r)
		rights[r] = map[string]any{"subs": -1, "data": -1, "payload": -1,
			"pub": map[string]any{"allow": may.Publish.Allow}, "sub": map[string]any{"allow": may.Subscribe.Allow}}
	}

	s := start(t, "operator.conf")
	files := make(map[role]string)
	for _, r := range roles {
		files[r] = credentials(t, account, string(r), rights[r])
	}
	wantRoles(t, s, func(r role) []nats.Option { return []nats.Option{nats.UserCredentials(files[r])} })

	stranger, _, _ := nkey(t, nkeys.CreateAccount)
	if _, err := nats.Connect(s.URL(), nats.UserCredentials(credentials(t, stranger, "stranger", rights[admin]))); err == nil {
		t.Error("a user of an account that the operator didn't sign connects")
	}
}
