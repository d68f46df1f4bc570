package testbed

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// consulTLS names the files of a server with TLS. One pair serves both sides: it is the server's, and a client's where
// clients are verified. Immutable after construction.
type consulTLS struct {
	caFile, certFile, keyFile string
	clientConfig              *tls.Config
}

// TLSFiles are the CA, and a certificate of it with its key that clients may show. All are "" without TLS.
func (c *ConsulServer) TLSFiles() (ca, cert, key string) {
	return c.tls.caFile, c.tls.certFile, c.tls.keyFile
}

// TLSConfig is what a client needs, its own certificate included; nil without TLS. Owned by the caller.
func (c *ConsulServer) TLSConfig() *tls.Config { return c.tls.clientConfig.Clone() }

// writeConsulTLS makes a CA and a certificate for 127.0.0.1, good for a day around now, and writes them into dir.
func writeConsulTLS(dir string, now time.Time) (consulTLS, error) {
	var none consulTLS
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return none, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return none, err
	}
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "sluice testbed CA"},
		NotBefore: now.Add(-12 * time.Hour), NotAfter: now.Add(12 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "server.dc1.consul"},
		NotBefore: ca.NotBefore, NotAfter: ca.NotAfter,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost", "server.dc1.consul"},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, &caKey.PublicKey, caKey)
	if err != nil {
		return none, err
	}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, ca, &key.PublicKey, caKey)
	if err != nil {
		return none, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return none, err
	}
	files := consulTLS{
		caFile: filepath.Join(dir, "ca.pem"), certFile: filepath.Join(dir, "cert.pem"), keyFile: filepath.Join(dir, "key.pem"),
	}
	for _, f := range []struct {
		path, kind string
		der        []byte
	}{
		{files.caFile, "CERTIFICATE", caDER}, {files.certFile, "CERTIFICATE", leafDER}, {files.keyFile, "PRIVATE KEY", keyDER},
	} {
		if err := os.WriteFile(f.path, pem.EncodeToMemory(&pem.Block{Type: f.kind, Bytes: f.der}), 0o600); err != nil {
			return none, err
		}
	}
	root, err := x509.ParseCertificate(caDER)
	if err != nil {
		return none, err
	}
	roots := x509.NewCertPool()
	roots.AddCert(root)
	pair := tls.Certificate{Certificate: [][]byte{leafDER}, PrivateKey: key}
	files.clientConfig = &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	return files, nil
}
