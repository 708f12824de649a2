package imports

import (
	"fmt"
	"path"
	"slices"
)

// SecretsApart has a configuration without its secrets: it names files in dir instead, which the
// operator has to write.
func (r Result) SecretsApart(dir string) Result {
	s := &r.Config.Signaling
	s.Backends = slices.Clone(s.Backends)
	r.ToDo = slices.Clone(r.ToDo)
	apart := func(secret, file *string, name, of string) {
		if *secret == "" {
			return
		}
		*secret, *file = "", path.Join(dir, name)
		r.ToDo = append(r.ToDo, fmt.Sprintf("%s: a file that only talkd may read, with the secret of %s (--out FILE writes all secrets into the configuration)", *file, of))
	}
	apart(&s.InternalSecret, &s.InternalSecretFile, "internal.secret", "internal clients")
	t := &r.Config.TURN
	apart(&t.Secret, &t.SecretFile, "turn.secret", "the TURN servers")
	apart(&t.APIKey, &t.APIKeyFile, "turn-api.key", "services that want TURN credentials")
	for i := range s.Backends {
		b := &s.Backends[i]
		apart(&b.Secret, &b.SecretFile, fmt.Sprintf("backend-%d.secret", i+1), b.URL)
	}
	return r
}
