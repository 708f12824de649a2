import { mount } from 'svelte';
import { language } from './i18n';
import App from './ui/App.svelte';
import './ui/app.css';

document.documentElement.lang = language;
const target = document.getElementById('app');
if (target) mount(App, { target });
