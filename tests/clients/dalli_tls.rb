# dalli over TLS: dalli_tls.rb HOST PORT AUTHORITY CERTIFICATE_AND_KEY.

require 'dalli'
require 'openssl'

def equal(want, got, what)
  abort("#{what}: want #{want.inspect[0, 300]}, got #{got.inspect[0, 300]}") unless want == got
end

host, port, authority, identity = ARGV
context = OpenSSL::SSL::SSLContext.new
context.set_params(verify_mode: OpenSSL::SSL::VERIFY_PEER, ca_file: authority)
context.cert = OpenSSL::X509::Certificate.new(File.read(identity))
context.key = OpenSSL::PKey.read(File.read(identity))
client = Dalli::Client.new("#{host}:#{port}", ssl_context: context, socket_timeout: 20)
client.set('key', 'value')
equal('value', client.get('key'), 'get')
large = 'v' * 1_000_000
client.set('large', large, nil, raw: true)
equal(large, client.get('large'), 'a get of a megabyte')
100.times { |number| client.set("many#{number}", number) }
100.times { |number| equal(number, client.get("many#{number}"), 'one of many') }
