// Verifies documents with Digital Bazaar's packages, as a verifier who has never heard of Credence would.
//
// Reads a JSON array of documents from standard input, and writes an array of what is found of each: {verified, error?}. It asks
// no network: the JSON-LD contexts come from the package @digitalbazaar/credentials-context, keys are their own did:key, and whatever
// else is asked for is an error.

import {contexts} from '@digitalbazaar/credentials-context';
import {DataIntegrityProof} from '@digitalbazaar/data-integrity';
import {driver} from '@digitalbazaar/did-method-key';
import * as Ed25519Multikey from '@digitalbazaar/ed25519-multikey';
import {createVerifyCryptosuite} from '@digitalbazaar/eddsa-jcs-2022-cryptosuite';
import * as vc from '@digitalbazaar/vc';

globalThis.fetch = () => {
  throw new Error('nothing is to be fetched');
};

const didKey = driver();
didKey.use({multibaseMultikeyHeader: 'z6Mk', fromMultibase: Ed25519Multikey.from});

async function documentLoader(url) {
  if(url.startsWith('did:key:')) {
    return {contextUrl: null, documentUrl: url, document: await didKey.get({url})};
  }
  if(contexts.has(url)) {
    return {contextUrl: null, documentUrl: url, document: contexts.get(url)};
  }
  throw new Error(`nothing is to be fetched: ${url}`);
}

function reasons(error) {
  return [error, ...(error?.errors ?? [])].map(one => one?.message).filter(Boolean).join('; ');
}

let input = '';
for await (const chunk of process.stdin) {
  input += chunk;
}
const found = [];
for(const credential of JSON.parse(input)) {
  const suite = new DataIntegrityProof({cryptosuite: createVerifyCryptosuite()});
  const result = await vc.verifyCredential({credential, suite, documentLoader});
  found.push({verified: result.verified, error: reasons(result.error)});
}
process.stdout.write(JSON.stringify(found));
