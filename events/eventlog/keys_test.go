package eventlog

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Made by openssl 3.0: genpkey -algorithm ed25519, pkey -pubout, and
// genpkey -algorithm ec.
const (
	opensslKey = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIACN0kAm3AwK6kHMmjkGRKlL61zT0nqGNAeTAFeR+ywV\n-----END PRIVATE KEY-----\n"
	opensslPub = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAKwbF7qTYZMJSXPTQRlyxtj2UCC2iC6h9T+onWZWEtWI=\n-----END PUBLIC KEY-----\n"
	opensslEC  = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEnYtBp6LuH3dAG6qQpig/fMOZ6+tp\nQzJlNwPnYZo0XCmIiF1xziX/if+HOdR77MvwqiVacdYlxW8MJ+Ja29u7MA==\n-----END PUBLIC KEY-----\n"
)

func keyFile(t *testing.T, content string, mode os.FileMode) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(file, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestReadsTheKeysThatOpensslMakes(t *testing.T) {
	t.Parallel()
	private, err := ReadPrivateKey(keyFile(t, opensslKey, 0o600))
	if err != nil {
		t.Fatal(err)
	}
	public, err := ReadPublicKeys(keyFile(t, opensslPub, 0o644))
	if err != nil {
		t.Fatal(err)
	}
	if len(public) != 1 || !public[0].Equal(private.Public()) {
		t.Errorf("read the public keys %v, which are not the private key's", public)
	}
	if written, err := MarshalPublicKey(public[0]); err != nil || string(written) != opensslPub {
		t.Errorf("wrote %q, %v; openssl writes %q", written, err, opensslPub)
	}
}

func TestReadsSeveralTrustedKeysWithRemarks(t *testing.T) {
	t.Parallel()
	other := testKey("other").Public().(ed25519.PublicKey)
	second, err := MarshalPublicKey(other)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := ReadPublicKeys(keyFile(t, "since 2025:\n"+opensslPub+"before:\n"+string(second), 0o644))
	if err != nil {
		t.Fatal(err)
	}
	if len(keys) != 2 || !slices.ContainsFunc(keys, func(k ed25519.PublicKey) bool { return bytes.Equal(k, other) }) {
		t.Errorf("read %d keys, %v", len(keys), keys)
	}
}

func TestRefusesFilesThatAreNotTheKeysItNeeds(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		content string
		mode    os.FileMode
		want    string
	}{
		{opensslKey, 0o644, "open to all users"},
		{opensslPub, 0o600, `no PEM block "PRIVATE KEY"`},
		{"", 0o600, `no PEM block "PRIVATE KEY"`},
		{strings.Repeat("x", maxKeyFile+1), 0o600, "too large"},
	} {
		if _, err := ReadPrivateKey(keyFile(t, c.content, c.mode)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("a private key file of mode %o gave %v, want an error with %q", c.mode, err, c.want)
		}
	}
	for _, c := range []struct{ content, want string }{
		{"", `no PEM block "PUBLIC KEY"`},
		{opensslPub + opensslKey, `a block "PRIVATE KEY"`},
		{opensslEC, "another algorithm"},
		{"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "asn1"},
	} {
		if _, err := ReadPublicKeys(keyFile(t, c.content, 0o644)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("a file of trusted keys gave %v, want an error with %q", err, c.want)
		}
	}
	if _, err := ReadPrivateKey(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is not there gave %v", err)
	}
}
