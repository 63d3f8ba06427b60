package testbed

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
)

// Book is the handler of an upstream that answers with the checksum of the body that
// it got, so that a client can tell its own answer from any other: see [CheckBooked].
func Book(rw http.ResponseWriter, req *http.Request) {
	sum := sha256.New()
	io.Copy(sum, req.Body)
	rw.WriteHeader(http.StatusCreated)
	io.WriteString(rw, Booked(sum.Sum(nil)))
}

// Booked is the answer of [Book] to a body with the checksum.
func Booked(sum []byte) string { return "booked " + hex.EncodeToString(sum) }

// CheckBooked posts the body to the host at the URL, and complains unless the answer
// of [Book] to it comes back.
func CheckBooked(client *http.Client, url, host string, header http.Header, body []byte) error {
	req, err := http.NewRequest(http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	for name, values := range header {
		req.Header[name] = values
	}
	req.Host = host
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(body)
	if want := Booked(sum[:]); resp.StatusCode != http.StatusCreated || string(got) != want {
		return fmt.Errorf("answered %d %.200q, want %d %q", resp.StatusCode, got, http.StatusCreated, want)
	}
	return nil
}
