package backend

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/talkd/talkd/signaling/wire"
	"github.com/talkd/talkd/store"
)

// TokenSkew is how far the clocks of an instance and of this node may differ.
// Tokens live a minute.
const TokenSkew = 30 * time.Second

// claims are what the token of a hello 2.0 says.
type claims struct {
	jwt.RegisteredClaims
	UserData json.RawMessage `json:"userdata"`
}

// AuthenticateToken reads who the client is from its token, which the instance
// has signed. If the signature is not right, the instance may have a new key: it is
// asked again, so that a change of the key costs no client its hello.
func (c *Client) AuthenticateToken(ctx context.Context, id store.BackendID, via, token string) (AuthResponse, error) {
	at, err := c.registry.get(id, via)
	if err != nil {
		return AuthResponse{}, fmt.Errorf("%w: %w", wire.ErrInvalidBackend, err)
	}
	key, err := c.keys.of(ctx, at, nil)
	if err != nil {
		return AuthResponse{}, fmt.Errorf("%w: %w", wire.ErrAuthFailed, err)
	}
	said, err := key.read(token)
	if errors.Is(err, jwt.ErrTokenSignatureInvalid) {
		if later, keyErr := c.keys.of(ctx, at, key); keyErr == nil && later != key {
			said, err = later.read(token)
		}
	}
	if err != nil {
		return AuthResponse{}, tokenError(err)
	}
	return c.identify(id, said)
}

// identify is who the claims mean. The token of one instance is nothing to another.
func (c *Client) identify(id store.BackendID, said *claims) (AuthResponse, error) {
	issuer, err := c.registry.Resolve(said.Issuer)
	switch {
	case err != nil || issuer != id:
		return AuthResponse{}, fmt.Errorf("%w: of another instance", wire.ErrInvalidToken)
	case said.IssuedAt == nil:
		return AuthResponse{}, fmt.Errorf("%w: without iat", wire.ErrInvalidToken)
	case len(said.Subject) > maxName:
		return AuthResponse{}, fmt.Errorf("%w: user id too long", wire.ErrInvalidToken)
	}
	if err := wire.CheckJSON(said.UserData, len(said.UserData)); err != nil {
		return AuthResponse{}, fmt.Errorf("%w: userdata: %w", wire.ErrInvalidToken, err)
	}
	return AuthResponse{UserID: said.Subject, User: objectOrNil(said.UserData)}, nil
}

// read verifies a token. Its algorithm is that of the key, whatever it names itself.
func (k *tokenKey) read(token string) (*claims, error) {
	said := &claims{}
	_, err := jwt.ParseWithClaims(token, said, func(*jwt.Token) (any, error) { return k.key, nil },
		jwt.WithValidMethods(k.methods), jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithLeeway(TokenSkew))
	if err != nil {
		return nil, err
	}
	return said, nil
}

// tokenError tells clients apart what they treat differently: with token_expired
// they fetch another token, with anything else they try the same one again.
func tokenError(err error) error {
	switch {
	case errors.Is(err, jwt.ErrTokenExpired):
		return fmt.Errorf("%w: %w", wire.ErrTokenExpired, err)
	case errors.Is(err, jwt.ErrTokenUsedBeforeIssued), errors.Is(err, jwt.ErrTokenNotValidYet):
		return fmt.Errorf("%w: %w", wire.ErrTokenNotYet, err)
	}
	return fmt.Errorf("%w: %w", wire.ErrInvalidToken, err)
}
