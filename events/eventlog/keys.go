package eventlog

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
)

// Keys lie in PEM files as openssl makes them:
//
//	openssl genpkey -algorithm ed25519 -out checkpoint.key
//	openssl pkey -in checkpoint.key -pubout -out checkpoint.pub
//
// A private key is PKCS #8 (RFC 8410, 7), a public key is a
// SubjectPublicKeyInfo (RFC 8410, 4).
const (
	privateBlock = "PRIVATE KEY"
	publicBlock  = "PUBLIC KEY"
)

// maxKeyFile bounds a file of keys, in bytes: some thousand keys.
const maxKeyFile = 1 << 18

// ReadPrivateKey reads the key that signs checkpoints (Options.Key). It is an
// error when every user of the machine may read the file.
func ReadPrivateKey(file string) (ed25519.PrivateKey, error) {
	data, mode, err := readKeyFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading the checkpoint key: %w", err)
	}
	if mode.Perm()&0o007 != 0 {
		return nil, fmt.Errorf("reading the checkpoint key: %s is open to all users (mode %04o); chmod 600 it, and make a new key if others may have read it",
			file, mode.Perm())
	}
	block, _ := pem.Decode(data)
	if block == nil || block.Type != privateBlock {
		return nil, fmt.Errorf("reading the checkpoint key: %s holds no PEM block %q first", file, privateBlock)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("reading the checkpoint key: %s: %w", file, err)
	}
	key, ok := parsed.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("reading the checkpoint key: %s holds a key for another algorithm than Ed25519", file)
	}
	return key, nil
}

// ReadPublicKeys reads the keys to trust (Options.Trust): one or more, in any
// order. A file without any is an error, and so is one that holds anything
// besides public keys.
func ReadPublicKeys(file string) ([]ed25519.PublicKey, error) {
	data, _, err := readKeyFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading the trusted keys: %w", err)
	}
	keys, err := parsePublicKeys(data)
	if err != nil {
		return nil, fmt.Errorf("reading the trusted keys: %s: %w", file, err)
	}
	return keys, nil
}

// parsePublicKeys is ReadPublicKeys for what has been read already.
func parsePublicKeys(data []byte) ([]ed25519.PublicKey, error) {
	var keys []ed25519.PublicKey
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != publicBlock {
			return nil, fmt.Errorf("a block %q where only %q is expected", block.Type, publicBlock)
		}
		parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return nil, err
		}
		key, ok := parsed.(ed25519.PublicKey)
		if !ok {
			return nil, errors.New("a key for another algorithm than Ed25519")
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("no PEM block %q", publicBlock)
	}
	return keys, nil
}

// MarshalPublicKey is what ReadPublicKeys reads, for one key.
func MarshalPublicKey(key ed25519.PublicKey) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return nil, fmt.Errorf("writing a public key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: publicBlock, Bytes: der}), nil
}

func readKeyFile(file string) ([]byte, os.FileMode, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	data, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err == nil && len(data) > maxKeyFile {
		err = fmt.Errorf("%s is too large for a file of keys: more than %d bytes", file, maxKeyFile)
	}
	return data, info.Mode(), err
}
